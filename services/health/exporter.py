"""The same knowledge as Prometheus metrics. Labels are bounded because a snapshot's models are."""

from collections.abc import Callable, Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from services.health.certificates import CertificateMetrics
from services.health.collector import Knowledge
from services.health.snapshot import STATES, Snapshot


class SwarmMetrics(Collector):
    """Translates the knowledge at the time of the scrape; nothing is counted twice or kept here."""

    def __init__(self, knowledge: Callable[[], Knowledge]) -> None:
        self._knowledge = knowledge

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics about the collector, then those about each model once the swarm was seen."""
        knowledge = self._knowledge()
        yield CounterMetricFamily(
            "calyx_collector_errors", "Looks at the swarm that failed.", value=knowledge.errors
        )
        if knowledge.snapshot is None:
            return
        yield GaugeMetricFamily(
            "calyx_collector_last_success_timestamp_seconds",
            "When the swarm was last seen, in seconds since the epoch.",
            value=knowledge.snapshot.taken_at,
        )
        yield GaugeMetricFamily(
            "calyx_collector_duration_seconds",
            "How long the last successful look at the swarm took.",
            value=knowledge.duration,
        )
        yield GaugeMetricFamily(
            "calyx_announcements_left_out",
            "Announcements of models or servers that are out of bounds and not shown.",
            value=knowledge.snapshot.left_out,
        )
        yield from _model_metrics(knowledge.snapshot)


def _model_metrics(snapshot: Snapshot) -> Iterator[Metric]:
    servers = GaugeMetricFamily("calyx_servers", "Servers of a model by state.", labels=["model", "state"])
    blocks = GaugeMetricFamily("calyx_blocks", "Blocks that a model has.", labels=["model"])
    online = GaugeMetricFamily(
        "calyx_blocks_online", "Blocks of a model that at least one server is online with.", labels=["model"]
    )
    replicas = GaugeMetricFamily(
        "calyx_block_replicas_min", "Copies of the block that has the fewest.", labels=["model"]
    )
    healthy = GaugeMetricFamily(
        "calyx_model_healthy", "1 if each block of the model has at least one copy, else 0.", labels=["model"]
    )
    for model in snapshot.models:
        for state in STATES:
            servers.add_metric([model.name, state], model.counts[state])
        blocks.add_metric([model.name], model.num_blocks)
        online.add_metric([model.name], model.num_blocks - len(model.missing_blocks))
        replicas.add_metric([model.name], min(model.replicas))
        healthy.add_metric([model.name], float(model.healthy))
    yield from (servers, blocks, online, replicas, healthy)


def registry_for(knowledge: Callable[[], Knowledge], certificates: Path) -> CollectorRegistry:
    """Return a registry that holds these metrics and nothing else.

    Args:
        knowledge: what the collector knows now.
        certificates: see :class:`services.health.certificates.CertificateMetrics`.
    """
    registry = CollectorRegistry()
    registry.register(SwarmMetrics(knowledge))
    registry.register(CertificateMetrics(certificates))
    return registry
