"""Metrics of single servers and of their GPUs."""

from collections.abc import Iterable, Iterator, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from services.common.server_figures import GpuFigures
from services.health.snapshot import Model, Server

_GAUGES: tuple[tuple[str, str], ...] = (
    ("throughput_tokens_per_second", "Tokens per second and block that a server announces."),
    ("inference_requests_per_second", "Steps of inference per second that a server announces."),
    ("forward_requests_per_second", "Forward passes per second that a server announces."),
    ("network_requests_per_second", "Requests per second that a server's network takes, as it announces."),
    ("cache_left_tokens", "Tokens that still fit into a server's attention cache."),
    (
        "announced_timestamp_seconds",
        "When a server's newest announcement was first seen, in seconds since the epoch.",
    ),
    ("queued_steps", "Steps that wait for a server's blocks."),
)
_COUNTERS: tuple[tuple[str, str], ...] = (
    ("tokens", "Tokens that passed through a server's blocks since it started, as it announces."),
    ("batches", "Passes through a server's blocks since it started, as it announces."),
)
_GPU_GAUGES: tuple[tuple[str, str], ...] = (
    ("memory_used_bytes", "Memory of a GPU that is used."),
    ("memory_bytes", "Memory of a GPU."),
    ("utilization_ratio", "Part of the last moments in which a GPU computed."),
    ("temperature_celsius", "Temperature of a GPU."),
    ("power_watts", "Power that a GPU draws."),
)


def server_metrics(servers: Sequence[tuple[Model, Server]]) -> Iterator[Metric]:
    """Yield what is known of each server; a figure that it does not announce has no sample."""
    labels = ["model", "server"]
    info = GaugeMetricFamily(
        "calyx_server_info",
        "1, with what a server says of itself.",
        labels=[*labels, "name", "version", "dtype", "quantization", "state"],
    )
    blocks = GaugeMetricFamily("calyx_server_blocks", "Blocks that a server holds.", labels=labels)
    online = GaugeMetricFamily(
        "calyx_server_online", "1 if a server is online and reached, else 0.", labels=labels
    )
    unreachable = GaugeMetricFamily(
        "calyx_server_unreachable", "1 if a server says that it is online and is not reached.", labels=labels
    )
    gauges = [GaugeMetricFamily(f"calyx_server_{name}", meaning, labels=labels) for name, meaning in _GAUGES]
    counters = [
        CounterMetricFamily(f"calyx_server_{name}", meaning, labels=labels) for name, meaning in _COUNTERS
    ]
    for model, server in servers:
        who = [model.name, server.peer_id]
        about = (server.public_name, server.version, server.dtype, server.quantization, server.state)
        info.add_metric([*who, *(text or "" for text in about)], 1)
        blocks.add_metric(who, server.num_blocks)
        online.add_metric(who, float(server.state == "online"))
        unreachable.add_metric(who, float(server.state == "unreachable"))
        _add(gauges, who, _gauge_values(server))
        _add(counters, who, _counter_values(server))
    yield from (info, blocks, online, unreachable, *gauges, *counters)
    yield from _gpu_metrics(server for _, server in servers)


def _gauge_values(server: Server) -> tuple[float | None, ...]:
    return (
        server.throughput,
        server.inference_rps,
        server.forward_rps,
        server.network_rps,
        server.cache_tokens_left,
        server.announced_at,
        server.figures.queued_steps if server.figures else None,
    )


def _counter_values(server: Server) -> tuple[float | None, ...]:
    figures = server.figures
    return (figures.tokens_total, figures.batches_total) if figures else (None, None)


def _gpu_metrics(servers: Iterable[Server]) -> Iterator[Metric]:
    families = [
        GaugeMetricFamily(f"calyx_gpu_{name}", meaning, labels=["server", "gpu", "name"])
        for name, meaning in _GPU_GAUGES
    ]
    known = {server.peer_id: server.figures.gpus for server in servers if server.figures}
    for peer_id, gpus in known.items():
        for number, gpu in enumerate(gpus):
            _add(families, [peer_id, str(number), gpu.name], _gpu_values(gpu))
    yield from families


def _gpu_values(gpu: GpuFigures) -> tuple[float | None, ...]:
    return (
        gpu.memory_used_bytes,
        gpu.memory_total_bytes,
        gpu.utilization,
        gpu.temperature_celsius,
        gpu.power_watts,
    )


def _add(
    families: Sequence[GaugeMetricFamily | CounterMetricFamily],
    labels: Sequence[str],
    values: Sequence[float | None],
) -> None:
    for family, value in zip(families, values, strict=True):
        if value is not None:
            family.add_metric(labels, value)
