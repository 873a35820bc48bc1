"""How the health exporter takes a swarm of a thousand servers, beside a plain way to do the same.

Runs processes instead of containers, so that nothing but the exporter is measured.
"""

import json
from pathlib import Path
from typing import Any

from scripts.benchmarks import probes
from scripts.benchmarks.figures import Figure

_MB = 1000**2


def measure(root: Path, project: str) -> list[Figure]:
    """Return times and memory, and the ratio to the reference's way; ``project`` does not matter.

    Raises:
        Unavailable: the exporter did not come up.
    """
    probes.prepare(root)
    return figures(json.loads(probes.run(root, "health_probe").splitlines()[-1]))


def figures(measured: dict[str, Any]) -> list[Figure]:
    """Turn what the probe measured (``health_probe.Measured``) into figures and a ratio."""
    return [
        Figure("one look at 1000 servers of 20 models", measured["look"], "s", 5),
        Figure("the reference's way to do it", measured["reference"], "s"),
        Figure("the reference's way to ours", measured["reference"] / measured["look"], "x", 1),
        Figure("one look in the running exporter", measured["update"], "s", 5),
        Figure("its page, slowest of 3", measured["page"], "s", 1),
        Figure("size of the page", measured["page_bytes"] / _MB, "MB"),
        Figure(f"its metrics, slowest of {measured['scrapes']}", 1000 * measured["metrics"], "ms", 200),
        Figure("memory of its processes", measured["memory"] / _MB, "MB", 500),
    ]
