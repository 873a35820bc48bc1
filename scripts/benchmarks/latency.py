"""What the tunnel adds to the way between two nodes: echoes through it, less echoes outside it."""

import re
import statistics

from scripts.benchmarks.figures import Figure
from scripts.benchmarks.machine import SEED_ADDRESS, Machine
from services.common.errors import Unavailable

_ECHOES = 100
_PERIOD = 0.05
_TIME = re.compile(r"time=([\d.]+) ms")


def measure(seed: Machine, one: Machine, other: Machine) -> list[Figure]:
    """Return milliseconds of a round trip, from a worker's sidecar, which alone may send echoes outside the tunnel.

    Outside, the echo comes from the engine's bridge, the last place before the other container that answers to all of
    them; so what is counted as the tunnel's holds a piece of the way, too.

    Args:
        seed: the lighthouse, one hop away.
        one: where the echoes are sent from.
        other: another worker, which ``one`` reaches through the seed: two hops.
    """
    bridge = median_echo(one.execute("vpn", *_ping(SEED_ADDRESS)))
    hop = median_echo(one.execute("vpn", *_ping(_mesh_address(seed))))
    two = median_echo(one.execute("vpn", *_ping(_mesh_address(other))))
    return [
        Figure("echo over the bridge", bridge, "ms"),
        Figure("echo through the tunnel, one hop", hop, "ms"),
        Figure("echo between workers", two, "ms"),
        Figure("added by the tunnel, per hop", hop - bridge, "ms", 1.0),
    ]


def _mesh_address(machine: Machine) -> str:
    return machine.execute("vpn", "cat", "/node/announce_host").strip()


def _ping(address: str) -> list[str]:
    return ["ping", "-n", "-c", str(_ECHOES), "-i", str(_PERIOD), address]


def median_echo(output: str) -> float:
    """Return the median of the round trips that ``ping`` wrote, in milliseconds.

    Raises:
        Unavailable: there are none.
    """
    times = [float(time) for time in _TIME.findall(output)]
    if not times:
        raise Unavailable(
            "measuring the tunnel: ping wrote no time", "see that the image calyx/vpn is up to date"
        )
    return statistics.median(times)
