"""The endpoint's Prometheus metrics, named as inference servers name theirs."""

import asyncio
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from fastapi import APIRouter, Response
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from services.common.errors import CalyxError

PREFIX = "calyx_endpoint_"
_SECONDS_PER_TOKEN = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5, 5.0)
_SECONDS_TO_FIRST = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 180.0)
_SECONDS_OF_ANSWER = (0.1, 0.3, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0)
_SECONDS_OF_WAITING = (0.001, 0.01, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)


class EndpointMetrics:
    """Counts what the scheduler tells.

    Args:
        registry: holds the metrics.
        clock: monotonic time in seconds.
    """

    def __init__(self, registry: CollectorRegistry, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._models: dict[str, _OfModel] = {}

        def histogram(name: str, help_: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(PREFIX + name, help_, ["model"], registry=registry, buckets=buckets)

        def counter(name: str, help_: str, *labels: str) -> Counter:
            return Counter(PREFIX + name, help_, labels, registry=registry)

        self._to_first = histogram(
            "time_to_first_token_seconds", "From a request to its first token.", _SECONDS_TO_FIRST
        )
        self._per_token = histogram(
            "time_per_output_token_seconds",
            "From one token of an answer to the next; tokens of one pass share its time.",
            _SECONDS_PER_TOKEN,
        )
        self._queue = histogram(
            "request_queue_time_seconds",
            "From a request to its place among those who generate.",
            _SECONDS_OF_WAITING,
        )
        self._whole = histogram(
            "e2e_request_latency_seconds", "From a request to the end of its answer.", _SECONDS_OF_ANSWER
        )
        self._prompt_tokens = counter("prompt_tokens", "Tokens of prompts.", "model")
        self._generated_tokens = counter("generation_tokens", "Tokens of answers.", "model")
        self._requests = counter("requests", "Requests for answers that ended, by how.", "model", "outcome")
        self._errors = counter("errors", "Requests that were refused or broke off, by kind.", "kind")

    def asked(self, model: str) -> "AnswerWatch":
        """Follow one answer of a model, see ``observing.Observer``."""
        return AnswerWatch(self._of(model), self._clock)

    def refused(self, error: CalyxError) -> None:
        """Count a request that no model was asked for."""
        self._errors.labels(kind_of(error)).inc()

    def _of(self, model: str) -> "_OfModel":
        # Looking a label up takes longer than counting does
        if model not in self._models:
            self._models[model] = _OfModel(
                model,
                self._to_first.labels(model),
                self._per_token.labels(model),
                self._queue.labels(model),
                self._whole.labels(model),
                self._prompt_tokens.labels(model),
                self._generated_tokens.labels(model),
                self._requests,
                self._errors,
            )
        return self._models[model]


@dataclass(frozen=True)
class _OfModel:
    """The metrics with the label of one model, where they have it."""

    name: str
    to_first: Histogram
    per_token: Histogram
    queue: Histogram
    whole: Histogram
    prompt_tokens: Counter
    generated_tokens: Counter
    requests: Counter
    errors: Counter


class AnswerWatch:
    """Follows one answer, from its request on; see ``observing.Watch``."""

    def __init__(self, metrics: _OfModel, clock: Callable[[], float]) -> None:
        self._metrics, self._clock = metrics, clock
        self._asked_at = clock()
        self._last_token_at: float | None = None
        self._outcome: str | None = None

    def started(self, prompt_tokens: int) -> None:
        """Count the wait and the prompt."""
        self._metrics.queue.observe(self._clock() - self._asked_at)
        self._metrics.prompt_tokens.inc(prompt_tokens)

    def stepped(self, tokens: int) -> None:
        """Count tokens that one pass through the swarm brought."""
        now = self._clock()
        if self._last_token_at is None:
            self._metrics.to_first.observe(now - self._asked_at)
        else:
            for _ in range(tokens):
                self._metrics.per_token.observe((now - self._last_token_at) / tokens)
        self._last_token_at = now
        self._metrics.generated_tokens.inc(tokens)

    def finished(self, reason: str) -> None:
        """Note why the answer is complete."""
        self._outcome = reason

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        outcome = self._outcome
        if outcome is not None:
            self._metrics.whole.observe(self._clock() - self._asked_at)
        elif error is None or isinstance(error, (GeneratorExit, asyncio.CancelledError)):
            outcome = "abandoned"
        else:
            outcome = kind_of(error)
            self._metrics.errors.labels(outcome).inc()
        self._metrics.requests.labels(self._metrics.name, outcome).inc()


def kind_of(error: BaseException) -> str:
    """Return an error's class as a label; there are as many as the tree has."""
    if not isinstance(error, CalyxError):
        return "unexpected"
    return re.sub(r"(?<!^)(?=[A-Z])", "_", type(error).__name__).lower()


class Load(Protocol):
    """What is going on now; the scheduler knows."""

    @property
    def running(self) -> int:
        """How many answers are generated."""

    @property
    def waiting(self) -> int:
        """How many requests wait for a place."""

    @property
    def open_sessions(self) -> int:
        """How many sessions hold a cache on servers of the swarm."""


class LoadMetrics(Collector):
    """Reads at the time of the scrape what is going on; nothing is counted twice or kept here.

    Args:
        load: the scheduler.
        memory: model → bytes of this process that it takes.
    """

    def __init__(self, load: Load, memory: Callable[[], Mapping[str, int]]) -> None:
        self._load, self._memory = load, memory

    def collect(self) -> Iterator[Metric]:
        """Yield the gauges."""
        for name, help_, value in (
            ("requests_running", "Answers that are generated now.", self._load.running),
            ("requests_waiting", "Requests that wait for a place now.", self._load.waiting),
            ("open_sessions", "Sessions that hold a cache on servers now.", self._load.open_sessions),
        ):
            yield GaugeMetricFamily(PREFIX + name, help_, value=value)
        memory = GaugeMetricFamily(
            f"{PREFIX}model_memory_bytes", "Memory of this process that a model takes.", labels=["model"]
        )
        for model, size in self._memory().items():
            memory.add_metric([model], size)
        yield memory


def metrics_router(registry: CollectorRegistry) -> APIRouter:
    """Return the route that Prometheus asks."""
    router = APIRouter()

    @router.get("/metrics")
    async def metrics() -> Response:
        return Response(generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return router


def watch_process(registry: CollectorRegistry) -> None:
    """Add memory, processor time and open files of this process."""
    ProcessCollector(registry=registry)
