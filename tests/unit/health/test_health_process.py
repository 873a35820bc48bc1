"""How the exporter starts, and what its probe says before it has."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from services.common.errors import InvalidSetting
from services.health.__main__ import connect, main

ROOT = Path(__file__).parents[3]


def test_a_wrong_setting_ends_it_with_one_line(monkeypatch, capsys):
    monkeypatch.setenv("CALYX_HEALTH_UPDATE_PERIOD", "-1")
    assert main() == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("health: setting CALYX_HEALTH_UPDATE_PERIOD: ")


def test_without_a_peer_to_start_from_it_says_which_setting_is_missing(monkeypatch):
    monkeypatch.delenv("CALYX_INITIAL_PEERS", raising=False)
    monkeypatch.delenv("CALYX_INITIAL_PEERS_FILE", raising=False)
    with pytest.raises(InvalidSetting, match="set CALYX_INITIAL_PEERS or CALYX_INITIAL_PEERS_FILE"):
        connect()


def test_the_probe_fails_while_nothing_listens():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = str(unused.getsockname()[1])
        ended = subprocess.run(
            [sys.executable, "-m", "services.health.probe"],
            cwd=ROOT,
            env={**os.environ, "CALYX_HEALTH_LISTEN_PORT": port},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert ended.returncode == 1
    assert "Connection refused" in ended.stdout
