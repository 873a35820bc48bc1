"""Asks another node of the mesh for an echo, which takes a tunnel that works in both directions."""

import re
import subprocess
from ipaddress import IPv4Address

_TIME = re.compile(r"time=([\d.]+) ms")


def ping(address: IPv4Address, seconds: int = 2) -> float | None:
    """Return the milliseconds that an echo took, or None if none came in time."""
    command = ["ping", "-n", "-c", "1", "-W", str(seconds), str(address)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    time = _TIME.search(done.stdout)
    return float(time[1]) if done.returncode == 0 and time else None
