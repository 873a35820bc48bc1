"""The exporter and its probe as processes, as a container runs them."""

import os
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def run(module: str, **settings: str) -> subprocess.CompletedProcess[str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("CALYX_")}
    return subprocess.run(
        [sys.executable, "-m", module],
        cwd=ROOT,
        env={**own, **settings},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_wrong_setting_ends_it_with_one_line():
    ended = run("services.health", CALYX_HEALTH_UPDATE_PERIOD="-1")
    assert ended.returncode == 1
    assert ended.stderr.startswith("health: setting CALYX_HEALTH_UPDATE_PERIOD: ")
    assert len(ended.stderr.splitlines()) == 1


def test_the_probe_fails_while_nothing_listens():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        ended = run("services.health.probe", CALYX_HEALTH_LISTEN_PORT=str(unused.getsockname()[1]))
    assert ended.returncode == 1
    assert "Connection refused" in ended.stdout
