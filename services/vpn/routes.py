"""Reads the routes of this network namespace from the kernel."""

import socket
import struct
from pathlib import Path

_ROUTES = Path("/proc/net/route")


def read_gateway(routes: Path = _ROUTES) -> str | None:
    """Return the IPv4 address of the default route's gateway, or None if there is no such route."""
    for line in routes.read_text().splitlines()[1:]:
        _, destination, gateway, *_ = line.split()
        if int(destination, 16) == 0 and int(gateway, 16) != 0:
            return socket.inet_ntoa(struct.pack("<L", int(gateway, 16)))
    return None
