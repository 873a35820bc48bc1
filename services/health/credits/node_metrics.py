"""What nodes shared, as metrics, of which there are as many as the ledger has nodes, up to a bound."""

from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from services.common.credits import Ledger

MAX_NODES = 1024


class NodeMetrics(Collector):
    """Reads the ledger at the time of the scrape.

    Args:
        ledger: what is booked now.
    """

    def __init__(self, ledger: Callable[[], Ledger]) -> None:
        self._ledger = ledger

    def collect(self) -> Iterator[Metric]:
        """Yield what each node shared; a node that came anew under its name has another id."""
        families = {
            name: CounterMetricFamily(f"calyx_node_{name}", meaning, labels=["node", "node_id"])
            for name, meaning in (
                ("block_seconds", "Seconds that blocks of a node were online, as the seed saw them."),
                (
                    "tokens",
                    "Tokens that a node computed for the pool's endpoint, as the endpoint counted them.",
                ),
                ("token_blocks", "The same, each token counted for every block that it went through there."),
            )
        }
        for node in self._ledger().nodes[:MAX_NODES]:
            for name, family in families.items():
                family.add_metric([node.name, node.node_id], getattr(node, name))
        yield from families.values()
