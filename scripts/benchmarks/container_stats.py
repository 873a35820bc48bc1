"""What the engine says that a container uses now."""

import json
import re
from dataclasses import dataclass

from scripts.benchmarks.machine import docker
from services.common.errors import Broken

_UNITS = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3, "TiB": 1024**4}


@dataclass(frozen=True)
class Usage:
    """One look at a container.

    Attributes:
        cpu: per cent of one core.
        memory: bytes, without what the kernel can drop; 0 when it does not run.
    """

    cpu: float
    memory: float


def usage(container: str) -> Usage:
    """Look at a container; takes up to two seconds while it runs."""
    return read_stats(docker("stats", "--no-stream", "--format", "{{json .}}", container))


def read_stats(line: str) -> Usage:
    """Read a line of ``docker stats --format '{{json .}}'``.

    Raises:
        Broken: the client writes it in another form.
    """
    try:
        fields = json.loads(line)
        amount, unit = re.fullmatch(r"([\d.]+)([A-Za-z]+)", fields["MemUsage"].split(" / ")[0]).groups()  # type: ignore[union-attr]
        return Usage(float(fields["CPUPerc"].rstrip("%")), float(amount) * _UNITS[unit])
    except (ValueError, KeyError, AttributeError) as error:
        raise Broken(f"reading docker stats: {line.strip()[:100]!r} is not understood") from error
