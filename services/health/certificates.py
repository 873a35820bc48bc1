"""When this node's way into the pool's private network ends, from the file that its sidecar keeps."""

import json
import math
from collections.abc import Iterator
from pathlib import Path

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


class CertificateMetrics(Collector):
    """Reads the file at the time of the scrape; there is none in a stack without a private network.

    Args:
        path: a JSON object: whose certificate (``node``, ``authority``) → its end, in seconds since the epoch.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def collect(self) -> Iterator[Metric]:
        """Yield the end of each certificate that is known."""
        ends = _read(self._path)
        if not ends:
            return
        family = GaugeMetricFamily(
            "calyx_certificate_expires_timestamp_seconds",
            "When a certificate of the private network ends, in seconds since the epoch: this node's own, "
            "which renews itself, and the authority's, which `calyx rotate-ca` renews.",
            labels=["certificate"],
        )
        for name, end in ends.items():
            family.add_metric([name], end)
        yield family


def _read(path: Path) -> dict[str, float]:
    try:
        document = json.loads(path.read_text())
        ends = {name: float(document[name]) for name in ("node", "authority") if document.get(name)}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
    return {name: end for name, end in ends.items() if math.isfinite(end)}
