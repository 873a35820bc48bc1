"""/readyz tells whether a model can be used now, and asks the swarm no more often than needed."""

import asyncio
import threading
from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient

from services.common.errors import Unavailable
from services.common.settings.endpoint import EndpointSettings
from services.endpoint.app import create_app
from services.endpoint.models import Models
from services.endpoint.readiness import Readiness, ranges
from tests.unit.endpoint.conftest import until_loaded
from tests.unit.endpoint.fake_model import NAME, FakeModel


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def models(model: FakeModel) -> Models:
    models = Models({NAME: lambda: model})
    models.start()
    until_loaded(models)
    return models


def test_the_process_is_alive_before_any_model_is_loaded(model: FakeModel) -> None:
    gate = threading.Event()

    def load() -> FakeModel:
        assert gate.wait(20)
        return model

    with TestClient(create_app(EndpointSettings(), Models({NAME: load}))) as client:
        assert client.get("/healthz").status_code == 200
        answer = client.get("/readyz")
        assert answer.status_code == 503
        assert "it is loading" in answer.text
        gate.set()


def test_ready_names_the_model(client: TestClient) -> None:
    answer = client.get("/readyz")
    assert (answer.status_code, answer.text) == (200, f"ready: {NAME}\n")


def test_missing_blocks_are_named_in_one_line(serve: Callable[..., TestClient], model: FakeModel) -> None:
    model.missing = [0, *range(10, 20), 29]
    answer = serve(model).get("/readyz")
    assert answer.status_code == 503
    assert answer.text == f"{NAME}: no server has blocks 0, 10-19, 29 of 30\n"


async def test_many_probes_cost_one_look(models: Models, model: FakeModel) -> None:
    clock = Clock()
    readiness = Readiness(models, lifetime=2.0, clock=clock)
    await asyncio.gather(*(readiness.check() for _ in range(50)))
    assert model.looks == 1
    clock.now += 1.9
    await readiness.check()
    assert model.looks == 1
    clock.now += 0.2
    model.missing = [3]
    assert await readiness.check() == (False, f"{NAME}: no server has blocks 3 of 30")
    assert model.looks == 2


async def test_a_dht_that_does_not_answer_is_not_ready(models: Models, model: FakeModel) -> None:
    def silent() -> list[int]:
        raise Unavailable("the DHT does not answer")

    model.missing_blocks = silent  # type: ignore[method-assign]
    assert await Readiness(models).check() == (False, "the DHT does not answer")


async def test_a_look_that_hangs_is_not_ready_and_not_asked_twice(models: Models, model: FakeModel) -> None:
    gate = threading.Event()

    def slow() -> list[int]:
        model.looks += 1
        assert gate.wait(20)
        return []

    model.missing_blocks = slow  # type: ignore[method-assign]
    readiness = Readiness(models, patience=0.05)
    assert await readiness.check() == (False, "asking the swarm takes longer than 0.05 s")
    assert (await readiness.check())[0] is False
    gate.set()
    assert model.looks == 1


async def test_an_unexpected_failure_is_not_ready_and_keeps_its_text_to_itself(
    models: Models, model: FakeModel
) -> None:
    def broken() -> list[int]:
        raise KeyError("inner detail")

    model.missing_blocks = broken  # type: ignore[method-assign]
    ready, detail = await Readiness(models).check()
    assert not ready
    assert "KeyError" in detail
    assert "inner detail" not in detail


@pytest.mark.parametrize(("numbers", "text"), [([4], "4"), ([0, 1, 2], "0-2"), ([0, 2, 3, 9], "0, 2-3, 9")])
def test_ranges(numbers: list[int], text: str) -> None:
    assert ranges(numbers) == text
