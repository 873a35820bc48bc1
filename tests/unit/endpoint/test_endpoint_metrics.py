"""``/metrics``: what is counted, when, and that Prometheus understands it."""

import json
import re
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import WebSocketTestSession

from services.common.errors import Broken, InvalidInput, Refused, Unavailable
from services.endpoint.access.__main__ import run
from services.endpoint.access.keys import KeyFile
from services.endpoint.errors import OverLimit, UnknownModel
from services.endpoint.metrics import AnswerWatch, EndpointMetrics, LoadMetrics, kind_of
from tests.unit.endpoint.conftest import until
from tests.unit.endpoint.fake_model import NAME, FakeModel
from tests.unit.endpoint.talk import OPEN, generate, say

POST = "/api/v1/generate"
ASK = {"inputs": "my secret prompt", "max_new_tokens": 4}
OF_MODEL = {"model": NAME}


class Bench:
    """Metrics whose time passes when the test says so."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.registry = CollectorRegistry()
        self.metrics = EndpointMetrics(self.registry, clock=lambda: self.seconds)

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"calyx_endpoint_{name}", labels)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_times_are_those_that_a_reader_feels(bench: Bench) -> None:
    with bench.metrics.asked(NAME) as watch:
        bench.seconds = 2.0
        watch.started(prompt_tokens=7)
        bench.seconds = 5.0
        watch.stepped(1)
        bench.seconds = 5.5
        watch.stepped(2)
        bench.seconds = 6.0
        watch.finished("length")

    assert bench.value("request_queue_time_seconds_sum", **OF_MODEL) == 2.0
    assert bench.value("time_to_first_token_seconds_sum", **OF_MODEL) == 5.0
    assert bench.value("time_per_output_token_seconds_count", **OF_MODEL) == 2
    assert bench.value("time_per_output_token_seconds_sum", **OF_MODEL) == 0.5
    assert bench.value("e2e_request_latency_seconds_sum", **OF_MODEL) == 6.0
    assert bench.value("prompt_tokens_total", **OF_MODEL) == 7
    assert bench.value("generation_tokens_total", **OF_MODEL) == 3
    assert bench.value("requests_total", **OF_MODEL, outcome="length") == 1


def broken_off(bench: Bench, error: BaseException) -> None:
    watch: AnswerWatch
    with suppress(type(error)), bench.metrics.asked(NAME) as watch:
        watch.started(3)
        watch.stepped(1)
        raise error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (Unavailable("no"), "unavailable"),
        (Refused("no"), "refused"),
        (InvalidInput("no"), "invalid_input"),
        (Broken("no"), "broken"),
        (KeyError("my secret prompt"), "unexpected"),
    ],
)
def test_an_answer_that_breaks_off_is_counted_by_its_kind(bench: Bench, error: Exception, kind: str) -> None:
    broken_off(bench, error)

    assert bench.value("requests_total", **OF_MODEL, outcome=kind) == 1
    assert bench.value("errors_total", kind=kind) == 1
    assert bench.value("e2e_request_latency_seconds_count", **OF_MODEL) == 0


def test_who_goes_away_is_no_error(bench: Bench) -> None:
    broken_off(bench, GeneratorExit())

    assert bench.value("requests_total", **OF_MODEL, outcome="abandoned") == 1
    assert bench.value("errors_total", kind="unexpected") is None


@pytest.mark.parametrize(
    ("error", "kind"), [(UnknownModel("no"), "unknown_model"), (OverLimit("no"), "over_limit")]
)
def test_kinds_are_those_of_the_tree(error: Exception, kind: str) -> None:
    assert kind_of(error) == kind


def test_memory_is_told_for_each_model() -> None:
    class Idle:
        running = waiting = open_sessions = 0

    registry = CollectorRegistry()
    registry.register(LoadMetrics(Idle(), lambda: {NAME: 1000}))

    assert registry.get_sample_value("calyx_endpoint_model_memory_bytes", OF_MODEL) == 1000


def scrape(client: TestClient) -> dict[str, Metric]:
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return {family.name: family for family in text_string_to_metric_families(answer.text)}


def value(client: TestClient, name: str, **labels: str) -> float:
    """Return what a scrape says, 0 for what it does not say."""
    full = f"calyx_endpoint_{name}"
    samples = [sample for family in scrape(client).values() for sample in family.samples]
    return sum(
        sample.value for sample in samples if sample.name == full and labels.items() <= sample.labels.items()
    )


def test_names_are_as_prometheus_wants_them(client: TestClient) -> None:
    client.post(POST, json=ASK)
    families = [one for one in scrape(client).values() if one.name.startswith("calyx_endpoint_")]

    assert len(families) >= 12
    for family in families:
        assert re.fullmatch(r"calyx_endpoint_[a-z0-9]+(_[a-z0-9]+)*", family.name), family.name
        assert family.documentation.endswith("."), family.name
        assert family.type in {"counter", "gauge", "histogram"}, family.name
        # The parser leaves the suffix of counters out; a gauge or a histogram must not have it
        assert not family.name.endswith(("_total", "_count", "_sum", "_bucket", "_info")), family.name
        assert family.type != "histogram" or family.name.endswith("_seconds"), family.name
        assert {label for sample in family.samples for label in sample.labels} <= {
            "model",
            "outcome",
            "kind",
            "le",
        }


def test_a_request_is_counted_and_its_prompt_is_not_told(client: TestClient) -> None:
    client.post(POST, json=ASK)

    assert value(client, "requests_total", outcome="length", **OF_MODEL) == 1
    assert value(client, "prompt_tokens_total", **OF_MODEL) == 16
    assert value(client, "generation_tokens_total", **OF_MODEL) == 4
    for name, count in (
        ("time_to_first_token_seconds", 1),
        ("time_per_output_token_seconds", 3),
        ("request_queue_time_seconds", 1),
        ("e2e_request_latency_seconds", 1),
    ):
        assert value(client, f"{name}_count", **OF_MODEL) == count
    assert "secret" not in client.get("/metrics").text


def test_what_goes_on_is_told_while_it_does(serve: Callable[..., TestClient], model: FakeModel) -> None:
    model.gate = threading.Semaphore(1)
    client = serve(model, max_running=1)
    with (
        client.websocket_connect("/api/v2/generate") as one,
        client.websocket_connect("/api/v2/generate") as two,
    ):
        for socket in (one, two):
            say(socket, **OPEN)
            socket.send_text(json.dumps({"type": "generate", "inputs": "Hi", "max_new_tokens": 4}))
        until(lambda: value(client, "requests_waiting") == 1)
        assert value(client, "requests_running") == 1
        assert value(client, "open_sessions") == 1
        model.gate.release(1000)
        assert [json.loads(socket.receive_text())["ok"] for socket in (one, two)] == [True, True]
        assert value(client, "open_sessions") == 2
    until(lambda: value(client, "open_sessions") == 0)
    assert value(client, "requests_running") == value(client, "requests_waiting") == 0


def test_a_session_that_is_lost_is_no_longer_open(
    client: TestClient, session: WebSocketTestSession, model: FakeModel
) -> None:
    model.fail_at[2] = Unavailable("no server for blocks 3:9")

    assert generate(session, inputs="Hi", max_new_tokens=4)["ok"] is False

    until(lambda: value(client, "open_sessions") == 0)
    assert value(client, "errors_total", kind="unavailable") == 1
    assert value(client, "requests_total", outcome="unavailable") == 1


def test_who_is_refused_at_the_door_is_counted(
    serve: Callable[..., TestClient], model: FakeModel, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("access") / "keys.json"
    client = serve(model, keys_file=path, max_message_bytes=1024)
    client.post(POST, content=b"x" * 2000)
    run(["create", "phone"], KeyFile(path), 0)
    client.post(POST, json=ASK)

    assert value(client, "errors_total", kind="too_large") == 1
    assert value(client, "errors_total", kind="unauthorized") == 1


def test_the_document_names_each_of_them(client: TestClient) -> None:
    text = (Path(__file__).parents[3] / "docs" / "endpoint.md").read_text()
    table = text.partition("## Metrics")[2].partition("\n## ")[0]
    named = {name for line in table.splitlines() if line.startswith("| `") for name in cells(line)}
    client.post(POST, json=ASK)
    scraped = scrape(client).values()

    assert named == {
        one.name.removeprefix("calyx_endpoint_") + ("_total" if one.type == "counter" else "")
        for one in scraped
        # The parser takes the times at which metrics were made for metrics of their own
        if one.name.startswith("calyx_endpoint_") and not one.name.endswith("_created")
    }


def cells(line: str) -> list[str]:
    """Return the names in the first cell of a row."""
    return re.findall(r"`([a-z0-9_]+)`", line.split("|")[1])
