"""The authority as a process: it makes its keys, serves TLS under its pin, and ends when it is told to."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.authority.probe import run_probe
from services.authority.state_folder import StateFolder
from services.authority.tls import pin_of
from services.common.token import JoinToken

ROOT = Path(__file__).parents[3]
# The signing program is not on every machine that runs unit tests.
PROGRAM = """
import sys, time
from services.authority import authority
from services.authority.__main__ import main
from tests.unit.authority.authority_fakes import FakeSigner
authority.NebulaCert = lambda: FakeSigner(time.time)
sys.exit(main(sys.argv[1:]))
"""


class Process:
    """A serving authority, in a folder and on a port of its own."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            self.port = unused.getsockname()[1]
        self.folder = folder / "authority"
        self.seed_token = folder / "seed_token"
        self.environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "CALYX_AUTHORITY_DIR": str(self.folder),
            "CALYX_AUTHORITY_LISTEN_PORT": str(self.port),
            "CALYX_SEED_TOKEN_FILE": str(self.seed_token),
        }
        self.running = self.start()
        self.watchdog = threading.Timer(60, self.running.kill)
        self.watchdog.start()
        assert self.running.stderr is not None
        self.log = []
        for line in self.running.stderr:
            self.log.append(line)
            if "Uvicorn running" in line:
                break

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", PROGRAM, *arguments]
        return subprocess.Popen(command, env=self.environment, stderr=subprocess.PIPE, text=True)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> str:
        self.running.send_signal(number)
        _, errors = self.running.communicate()
        self.watchdog.cancel()
        return "".join(self.log) + errors


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    started = Process(tmp_path)
    yield started
    if started.running.returncode is None:
        started.stop()


def test_it_serves_under_its_pin_until_it_is_told_to_stop(
    process: Process, capsys: pytest.CaptureFixture[str]
) -> None:
    token = JoinToken.parse(process.seed_token.read_text())
    second = process.start()
    _, errors = second.communicate(timeout=60)

    assert token.pin == pin_of(process.folder / "tls.pem")
    assert run_probe(process.port, token.pin) == 0
    assert run_probe(process.port, "0" * 64) == 1
    assert capsys.readouterr().out.splitlines() == [
        "ready to enrol nodes",
        "another certificate is served than the one in the authority's folder",
    ]
    assert second.returncode == 1
    assert errors.splitlines()[-1].startswith("authority: opening the authority's folder")
    log = process.stop()
    assert process.running.returncode == 0
    assert "Traceback" not in log
    assert token.secret not in log
    assert run_probe(process.port, token.pin) == 1
    assert "Connection refused" in capsys.readouterr().out


def test_the_probe_fails_before_anything_was_made(tmp_path: Path) -> None:
    StateFolder(tmp_path / "authority")
    ended = subprocess.run(
        [sys.executable, "-m", "services.authority.probe"],
        cwd=ROOT,
        env={**os.environ, "CALYX_AUTHORITY_DIR": str(tmp_path / "authority")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode == 1
    assert ended.stdout.startswith("reading the authority's TLS certificate")
    assert len(ended.stdout.splitlines()) == 1
