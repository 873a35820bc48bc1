"""The sidecar as a process: what the container runs, with its signals and its exit codes."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

PROGRAM = "import sys, pathlib, services.vpn.app as app; sys.exit(app.main(pathlib.Path(sys.argv[1])))"


def start(heartbeat: Path, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(heartbeat)],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": os.getcwd(), **environment},
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_wrong_mode_is_one_line_and_exit_code_1(tmp_path: Path) -> None:
    process = start(tmp_path / "heartbeat.json", CALYX_VPN_MODE="carrier-pigeon")
    _, errors = process.communicate(timeout=60)

    assert process.returncode == 1
    assert errors.startswith("vpn: setting CALYX_VPN_MODE:")
    assert len(errors.splitlines()) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_at_once_with_exit_code_0(number: signal.Signals, tmp_path: Path) -> None:
    process = start(tmp_path / "heartbeat.json")
    assert process.stderr is not None
    watchdog = threading.Timer(60, process.kill)
    watchdog.start()
    try:
        assert "starting" in process.stderr.readline()
        process.send_signal(number)
        _, errors = process.communicate()
    finally:
        watchdog.cancel()

    assert process.returncode == 0
    assert errors.splitlines()[-1].endswith("stopped")
    assert "Traceback" not in errors
