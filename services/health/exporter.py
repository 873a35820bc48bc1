"""The same knowledge as Prometheus metrics. Labels are bounded because a snapshot's models and servers are."""

from collections.abc import Callable, Iterator
from itertools import islice

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from services.health.collector import Knowledge
from services.health.server_metrics import server_metrics
from services.health.snapshot import STATES, Model, Server, Snapshot

MAX_SERVERS = 1024
"""Servers of all models together that have series of their own; the others are in the sums."""


class SwarmMetrics(Collector):
    """Translates the knowledge at the time of the scrape; nothing is counted twice or kept here.

    Args:
        knowledge: what the collector knows now.
    """

    def __init__(self, knowledge: Callable[[], Knowledge]) -> None:
        self._knowledge = knowledge

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics about the collector, then those about the swarm once it was seen."""
        knowledge = self._knowledge()
        yield from _collector_metrics(knowledge)
        if knowledge.snapshot is not None:
            yield from _model_metrics(knowledge.snapshot)
            yield from server_metrics(list(islice(_servers(knowledge.snapshot), MAX_SERVERS)))


def _servers(snapshot: Snapshot) -> Iterator[tuple[Model, Server]]:
    """Yield servers with their models, one of each model after the other, so that no model crowds out the rest."""
    longest = max((len(model.servers) for model in snapshot.models), default=0)
    for place in range(longest):
        for model in snapshot.models:
            if place < len(model.servers):
                yield model, model.servers[place]


def _collector_metrics(knowledge: Knowledge) -> Iterator[Metric]:
    yield CounterMetricFamily(
        "calyx_collector_errors", "Looks at the swarm that failed.", value=knowledge.errors
    )
    rejected = CounterMetricFamily(
        "calyx_collector_rejected_records",
        "Records in the swarm's table that made no sense and were left out, counted at each look.",
        labels=["reason"],
    )
    for reason, count in sorted(knowledge.rejected.items()):
        rejected.add_metric([reason], count)
    yield rejected
    reachable = GaugeMetricFamily(
        "calyx_bootstrap_reachable", "1 if the initial peer answers, else 0.", labels=["peer"]
    )
    for peer_id, problem in knowledge.entrances.items():
        reachable.add_metric([peer_id], float(problem is None))
    yield reachable
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


def _model_metrics(snapshot: Snapshot) -> Iterator[Metric]:
    def gauge(name: str, meaning: str, *labels: str) -> GaugeMetricFamily:
        return GaugeMetricFamily(name, meaning, labels=["model", *labels])

    servers = gauge("calyx_servers", "Servers of a model by state.", "state")
    held = gauge("calyx_blocks_held", "Blocks that servers in a state hold, copies counted.", "state")
    blocks = gauge("calyx_blocks", "Blocks that a model has.")
    online = gauge("calyx_blocks_online", "Blocks of a model that at least one server is online with.")
    single = gauge("calyx_blocks_single", "Blocks of a model that exactly one server is online with.")
    replicas = gauge("calyx_block_replicas_min", "Copies of the block that has the fewest.")
    throughput = gauge(
        "calyx_block_throughput_min_tokens_per_second", "Announced tokens per second of the slowest block."
    )
    healthy = gauge("calyx_model_healthy", "1 if each block of the model has at least one copy, else 0.")
    for model in snapshot.models:
        for state in STATES:
            servers.add_metric([model.name, state], model.counts[state])
            held.add_metric([model.name, state], model.blocks_by_state[state])
        blocks.add_metric([model.name], model.num_blocks)
        online.add_metric([model.name], model.num_blocks - len(model.missing_blocks))
        single.add_metric([model.name], model.replicas.count(1))
        replicas.add_metric([model.name], min(model.replicas))
        throughput.add_metric([model.name], min(model.throughputs))
        healthy.add_metric([model.name], float(model.healthy))
    yield from (servers, held, blocks, online, single, replicas, throughput, healthy)
