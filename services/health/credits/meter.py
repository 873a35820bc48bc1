"""Reads how many tokens each server computed for this node's own endpoint, from the endpoint's metrics."""

import http.client
import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from services.common.errors import Unavailable
from services.common.served_tokens import Served

_TOKENS, _TOKEN_BLOCKS = "calyx_endpoint_server_tokens_total", "calyx_endpoint_server_token_blocks_total"
_STARTED = "process_start_time_seconds"
_SECONDS = 5.0
_MAX_BYTES = 8 * 1024**2
# Docker puts its client's proxy settings into every container, and a proxy cannot reach this loopback.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class Meter:
    """The endpoint's counters, by model and peer; they began at 0 with the process that ``run`` tells from others."""

    run: float
    served: Mapping[tuple[str, str], Served]


def read_meter(url: str) -> Meter:
    """Ask the endpoint.

    Raises:
        Unavailable: it does not answer, or answers something else.
    """
    try:
        with _DIRECT.open(url, timeout=_SECONDS) as answer:
            return parse_meter(answer.read(_MAX_BYTES).decode())
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Unavailable(f"asking the endpoint for its counts of tokens: {error}") from error


def parse_meter(text: str) -> Meter:
    """Return what an endpoint's metrics say.

    Raises:
        ValueError: they are none.
    """
    families = list(text_string_to_metric_families(text))
    tokens, token_blocks = _samples(families, _TOKENS), _samples(families, _TOKEN_BLOCKS)
    started = next((one.value for family in families for one in family.samples if one.name == _STARTED), None)
    if started is None:
        raise ValueError("no start of its process among its metrics")
    served = {key: Served(count, token_blocks.get(key, 0)) for key, count in tokens.items()}
    return Meter(started, served)


def _samples(families: Iterable[Metric], name: str) -> dict[tuple[str, str], int]:
    return {
        (sample.labels["model"], sample.labels["server"]): int(sample.value)
        for family in families
        for sample in family.samples
        if sample.name == name
    }
