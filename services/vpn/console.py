"""Asks the running Nebula by its console, an SSH server that it has for this
(https://nebula.defined.net/docs/guides/debug-ssh-commands/).

It listens on the loopback of the node's network, which the node's other containers share; one key, which only the
sidecar can read, is both the one that it shows and the one that it asks for.
"""

import json
import subprocess
from collections.abc import Callable
from ipaddress import IPv4Address
from typing import Any

from pydantic import BaseModel, ValidationError

from services.common.errors import Broken, Unavailable
from services.vpn.membership import CONSOLE_KEY, StateFolder
from services.vpn.nebula_config import CONSOLE_PORT, CONSOLE_USER

_LIMIT = 5.0
_KNOWN_HOSTS = "console.known_hosts"

Run = Callable[[list[str]], "subprocess.CompletedProcess[str]"]


class Tunnel(BaseModel):
    """A connection that Nebula has with another node.

    Attributes:
        name: what the other's certificate calls it; None before the handshake has ended.
        address: its address in the mesh.
        endpoint: where packets go to directly, None when they cannot.
        relays: addresses in the mesh of the nodes that pass packets on instead.
    """

    name: str | None
    address: IPv4Address
    endpoint: str | None
    relays: list[IPv4Address]

    @classmethod
    def of(cls, entry: dict[str, Any]) -> "Tunnel":
        """Return what an entry of ``list-hostmap -json`` of Nebula 1.9 says."""
        details = (entry.get("cert") or {}).get("details") or {}
        remote = entry.get("currentRemote")
        return cls(
            name=details.get("name"),
            address=entry["vpnIp"],
            endpoint=f"{remote['ip']}:{remote['port']}" if remote else None,
            relays=entry.get("currentRelaysToMe") or [],
        )


def ensure_key(folder: StateFolder) -> str:
    """Return the public half of the console's key, which is made when it is missing.

    Raises:
        Broken: it cannot be made.
    """
    key = folder.path / CONSOLE_KEY
    if not (folder.path / f"{CONSOLE_KEY}.pub").exists():
        key.unlink(missing_ok=True)
        _run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "console", "-f", str(key)])
    return folder.read(f"{CONSOLE_KEY}.pub").strip()


def tunnels(folder: StateFolder, run: Run | None = None) -> list[Tunnel]:
    """Return Nebula's connections with other nodes.

    Raises:
        Unavailable: Nebula does not run, or says nothing.
        Broken: it says what is not understood.
    """
    known = folder.path / _KNOWN_HOSTS
    folder.write(_KNOWN_HOSTS, f"[127.0.0.1]:{CONSOLE_PORT} {ensure_key(folder)}\n")
    command = ["ssh", "-F", "none", "-i", str(folder.path / CONSOLE_KEY), "-p", str(CONSOLE_PORT)]
    for option in (
        "BatchMode=yes",
        "StrictHostKeyChecking=yes",
        f"UserKnownHostsFile={known}",
        "ConnectTimeout=3",
    ):
        command += ["-o", option]
    done = (run or _run)([*command, f"{CONSOLE_USER}@127.0.0.1", "list-hostmap", "-json"])
    try:
        return [Tunnel.of(entry) for entry in json.loads(done.stdout) or []]
    except (ValueError, KeyError, TypeError, AttributeError, ValidationError) as error:
        raise Broken("asking Nebula for its tunnels: the answer is not understood", "report it") from error


def _run(command: list[str]) -> "subprocess.CompletedProcess[str]":
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_LIMIT, stdin=subprocess.DEVNULL, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"running {command[0]}: {error}", "see the log of vpn") from error
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"]
        raise Unavailable(f"running {command[0]}: {lines[-1]}", "see the log of vpn")
    return done
