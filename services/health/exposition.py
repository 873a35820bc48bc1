"""The text that Prometheus is answered: prepared at each look, so that no scrape waits for a thousand servers."""

from collections.abc import Callable
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest

from services.common.credits import Ledger
from services.health.certificates import CertificateMetrics
from services.health.collector import Knowledge
from services.health.credits.node_metrics import NodeMetrics
from services.health.disk import DiskMetrics
from services.health.exporter import SwarmMetrics


class Exposition:
    """Holds the text of the last knowledge, and asks for the rest at the time of the scrape.

    Args:
        certificates: see :class:`services.health.certificates.CertificateMetrics`.
        disk: see :class:`services.health.disk.DiskMetrics`.
        ledger: see :class:`services.health.credits.node_metrics.NodeMetrics`; None where nothing is booked.
    """

    def __init__(self, certificates: Path, disk: Path, ledger: Callable[[], Ledger] | None = None) -> None:
        self._of_node = CollectorRegistry()
        self._of_node.register(CertificateMetrics(certificates))
        self._of_node.register(DiskMetrics(disk))
        if ledger is not None:
            self._of_node.register(NodeMetrics(ledger))
        self._prepared: tuple[Knowledge | None, bytes] = (None, b"")

    def prepare(self, knowledge: Knowledge) -> None:
        """Write the text of what is going to be known."""
        registry = CollectorRegistry()
        registry.register(SwarmMetrics(lambda: knowledge))
        self._prepared = knowledge, generate_latest(registry)

    def text(self, knowledge: Knowledge) -> bytes:
        """Return everything, with the swarm as it is known."""
        prepared, text = self._prepared
        if prepared is not knowledge:
            self.prepare(knowledge)
            text = self._prepared[1]
        return text + generate_latest(self._of_node)
