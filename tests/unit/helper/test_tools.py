import sys
from pathlib import Path

import pytest

from scripts.helper.shell import NOT_FOUND, Finished, HostShell
from scripts.helper.toolchain import Toolchain, parse_version, read_toolchain
from tests.unit.helper.helper_fakes import FakeShell


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("2.26.1-4", (2, 26)),
        ("v2.29.7", (2, 29)),
        ("github.com/docker/buildx v0.13.1+ds1 0.13.1+ds1-3", (0, 13)),
        ("1:26.1.5+dfsg1-9", (26, 1)),
        ("20.10.24+dfsg1-1+deb12u1+b6", (20, 10)),
        ("(none)", None),
        ("", None),
    ],
)
def test_versions(text: str, version: tuple[int, int] | None) -> None:
    assert parse_version(text) == version


def test_plugins_that_are_not_there() -> None:
    shell = FakeShell({"docker compose": Finished(1, "docker: 'compose' is not a docker command.")})
    tools = read_toolchain(shell)
    assert tools == Toolchain(compose=None, buildx=None)
    assert not tools.compose_fits


def test_an_old_compose_does_not_fit() -> None:
    assert not Toolchain(compose=(2, 19), buildx=(0, 13)).compose_fits
    assert Toolchain(compose=(2, 20), buildx=(0, 13)).compose_fits


def test_a_program_gives_its_output_line_by_line_and_as_a_whole() -> None:
    lines: list[str] = []
    program = "import os, sys; print(os.environ['WORD'], flush=True); sys.stderr.write('two\\n'); sys.exit(3)"
    finished = HostShell().run([sys.executable, "-c", program], env={"WORD": "one"}, on_line=lines.append)
    assert finished == Finished(3, "one\ntwo\n")
    assert lines == ["one", "two"]


def test_a_program_that_is_not_installed() -> None:
    assert HostShell().run(["no-such-program-of-calyx"]).code == NOT_FOUND


def test_a_program_that_hangs_is_ended() -> None:
    finished = HostShell().run([sys.executable, "-c", "import time; time.sleep(600)"], limit=0.2)
    assert finished.code < 0


def test_an_interruption_leaves_no_program_behind(tmp_path: Path) -> None:
    alive = tmp_path / "ended"
    program = (
        "import signal, sys, time, pathlib\n"
        f"signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path({str(alive)!r}).touch(), sys.exit(0)))\n"
        "print('started', flush=True)\n"
        "time.sleep(600)\n"
    )

    def interrupt(_: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        HostShell().run([sys.executable, "-c", program], on_line=interrupt)
    assert alive.exists()
