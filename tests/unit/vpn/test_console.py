"""What is understood of Nebula's console."""

import json
import subprocess
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from services.common.errors import Broken
from services.vpn.console import Tunnel, tunnels
from services.vpn.membership import CONSOLE_KEY, StateFolder

DIRECT = {
    "vpnIp": "10.77.0.1",
    "remoteAddrs": [{"ip": "203.0.113.7", "port": 4242}],
    "cert": {"details": {"name": "seed", "groups": ["seed", "member"]}},
    "currentRemote": {"ip": "203.0.113.7", "port": 4242},
    "currentRelaysToMe": [],
}
RELAYED = DIRECT | {"vpnIp": "10.77.0.6", "currentRemote": None, "currentRelaysToMe": ["10.77.0.1"]}
PENDING = {"vpnIp": "10.77.0.9", "cert": None, "currentRemote": None, "currentRelaysToMe": None}


@pytest.fixture
def folder(tmp_path: Path) -> StateFolder:
    folder = StateFolder(tmp_path)
    folder.write(f"{CONSOLE_KEY}.pub", "ssh-ed25519 AAAA console\n")
    return folder


def asked(folder: StateFolder, output: str) -> list[Tunnel]:
    return tunnels(folder, lambda command: subprocess.CompletedProcess(command, 0, output, ""))


def test_each_tunnel_has_a_way(folder: StateFolder) -> None:
    seed, relay = IPv4Address("10.77.0.1"), IPv4Address("10.77.0.6")

    assert asked(folder, json.dumps([DIRECT, RELAYED, PENDING])) == [
        Tunnel(name="seed", address=seed, endpoint="203.0.113.7:4242", relays=[]),
        Tunnel(name="seed", address=relay, endpoint=None, relays=[seed]),
        Tunnel(name=None, address=IPv4Address("10.77.0.9"), endpoint=None, relays=[]),
    ]


def test_there_may_be_none(folder: StateFolder) -> None:
    assert asked(folder, "null") == []


@pytest.mark.parametrize("output", ["", "{", '["a"]', '[{"vpnIp": "here"}]', "[{}]", "7"])
def test_what_is_not_understood_is_an_error_of_one_line(folder: StateFolder, output: str) -> None:
    with pytest.raises(Broken, match="is not understood"):
        asked(folder, output)
