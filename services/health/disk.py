"""How full this machine's disk is: volumes, images and logs of a node share the one that the history lies on."""

import os
from collections.abc import Iterator
from pathlib import Path

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


class DiskMetrics(Collector):
    """Asks the file system at the time of the scrape.

    Args:
        folder: on the disk; one that is not there has no figures.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterator[Metric]:
        """Yield size and free space."""
        try:
            disk = os.statvfs(self._folder)
        except OSError:
            return
        yield GaugeMetricFamily(
            "calyx_disk_bytes",
            "Size of the disk that this node's volumes are on.",
            value=disk.f_blocks * disk.f_frsize,
        )
        yield GaugeMetricFamily(
            "calyx_disk_free_bytes",
            "Space on that disk that containers may still take.",
            value=disk.f_bavail * disk.f_frsize,
        )
