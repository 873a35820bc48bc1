"""How many tokens each server computed for this endpoint; the pool's seed thanks its nodes by these figures."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from services.common.served_tokens import ServedTokens
from services.endpoint.metrics import PREFIX


class ServedMetrics(Collector):
    """Reads the counts at the time of the scrape.

    Args:
        served: what the models count.
    """

    def __init__(self, served: ServedTokens) -> None:
        self._served = served

    def collect(self) -> Iterator[Metric]:
        """Yield a sample for each model and server; a restart begins at 0."""
        labels = ["model", "server"]
        tokens = CounterMetricFamily(
            f"{PREFIX}server_tokens",
            "Tokens of prompts and answers that a server answered for.",
            labels=labels,
        )
        token_blocks = CounterMetricFamily(
            f"{PREFIX}server_token_blocks",
            "The same, each token counted once for every block that it went through there.",
            labels=labels,
        )
        for (model, peer_id), served in self._served.counts().items():
            tokens.add_metric([model, peer_id], served.tokens)
            token_blocks.add_metric([model, peer_id], served.token_blocks)
        yield from (tokens, token_blocks)
