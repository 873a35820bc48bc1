from pathlib import Path

import pytest

from scripts.helper.handover import hand_over
from scripts.helper.shell import Finished
from tests.unit.helper.helper_fakes import FakeShell

PIP = "python3 -m pip config get global.find-links"
NO_PIP = FakeShell({PIP: Finished(1, "ERROR: No such key")})


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    path = tmp_path / "certificates.crt"
    path.write_text("…")
    return path


def test_pips_folder_of_wheels_goes_to_the_build(tmp_path: Path, bundle: Path) -> None:
    shell = FakeShell({PIP: f"https://example.org/wheels {tmp_path}\n"})
    given = hand_over({}, shell, bundle)
    assert given.variables == {"CALYX_WHEELHOUSE": str(tmp_path)}
    assert given.lines == [f"CALYX_WHEELHOUSE={tmp_path} (pip's find-links)"]


def test_pips_variable_needs_no_pip(tmp_path: Path, bundle: Path) -> None:
    shell = FakeShell()
    given = hand_over({"PIP_FIND_LINKS": f"file://{tmp_path}"}, shell, bundle)
    assert given.variables == {"CALYX_WHEELHOUSE": str(tmp_path)}
    assert shell.calls == []


def test_what_the_user_set_is_left_alone(tmp_path: Path, bundle: Path) -> None:
    environment = {
        "CALYX_WHEELHOUSE": "/mine",
        "CALYX_CA_BUNDLE": "/mine.crt",
        "PIP_FIND_LINKS": str(tmp_path),
        "PIP_CERT": str(bundle),
    }
    assert hand_over(environment, FakeShell(), tmp_path / "none").variables == {}


def test_a_folder_that_is_not_there_is_not_handed_over(tmp_path: Path, bundle: Path) -> None:
    given = hand_over({"PIP_FIND_LINKS": str(tmp_path / "gone")}, FakeShell(), bundle)
    assert given.variables == {}


@pytest.mark.parametrize("variable", ["PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
def test_the_proxys_certificates_go_to_the_build(variable: str, bundle: Path) -> None:
    given = hand_over({variable: str(bundle)}, NO_PIP, bundle)
    assert given.variables == {"CALYX_CA_BUNDLE": str(bundle)}


def test_without_any_certificates_compose_gets_an_empty_file(tmp_path: Path) -> None:
    given = hand_over({"PIP_CERT": str(tmp_path / "gone")}, NO_PIP, tmp_path / "none")
    assert given.variables == {"CALYX_CA_BUNDLE": "/dev/null"}
    assert given.lines == []
