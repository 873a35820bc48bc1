from pathlib import Path

import pytest

from scripts.helper.shell import Finished
from scripts.helper.torch_source import torch_source
from tests.unit.helper.helper_fakes import FakeShell

PIP = "python3 -m pip config get global.find-links"


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CALYX_WHEELHOUSE", "CALYX_TORCH_INDEX"):
        monkeypatch.delenv(name, raising=False)


def test_a_wheel_that_pip_knows_makes_the_index_needless(tmp_path: Path) -> None:
    (tmp_path / "torch-2.13.0+cpu-cp311-cp311-linux_x86_64.whl").touch()
    assert torch_source({}, FakeShell({PIP: f"{tmp_path}\n"})) == ["--find-links", str(tmp_path)]


def test_a_folder_without_such_a_wheel_does_not(tmp_path: Path) -> None:
    (tmp_path / "torchvision-1-py3-none-any.whl").touch()
    assert torch_source({}, FakeShell({PIP: f"{tmp_path}\n"}))[0] == "--extra-index-url"


def test_a_wheelhouse_that_the_user_set_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torch-2.13.0-cp311-cp311-linux_x86_64.whl").touch()
    monkeypatch.setenv("CALYX_WHEELHOUSE", str(tmp_path))
    environment = {"CALYX_WHEELHOUSE": str(tmp_path)}
    assert torch_source(environment, FakeShell()) == ["--find-links", str(tmp_path)]


def test_the_index_is_the_one_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALYX_TORCH_INDEX", "https://example.org/cpu")
    shell = FakeShell({PIP: Finished(1, "ERROR: No such key")})
    assert torch_source({}, shell) == ["--extra-index-url", "https://example.org/cpu"]
