"""Models load in the background, again and again while the swarm is not there, and are known by hub name."""

import threading

import pytest
from tenacity import wait_none

from services.common.errors import Broken, InvalidInput, Unavailable
from services.endpoint.errors import UnknownModel
from services.endpoint.models import Models
from tests.unit.endpoint.conftest import until, until_loaded
from tests.unit.endpoint.fake_model import NAME, FakeModel


class Loader:
    """Raises one problem after the other, then loads."""

    def __init__(self, model: FakeModel, *problems: Exception) -> None:
        self.model, self.problems, self.calls = model, list(problems), 0
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self) -> FakeModel:
        self.calls += 1
        assert self.gate.wait(20)
        if self.problems:
            raise self.problems.pop(0)
        return self.model


def problem_of(models: Models) -> str:
    with pytest.raises(Unavailable) as caught:
        models.get(NAME)
    return str(caught.value)


def test_until_it_is_loaded_a_model_is_unavailable(model: FakeModel) -> None:
    loader = Loader(model)
    loader.gate.clear()
    models = Models({NAME: loader})
    models.start()
    assert problem_of(models) == f"model {NAME} is not loaded: it is loading — try again in a few seconds"
    loader.gate.set()
    until_loaded(models)
    assert models.get(NAME) is model
    assert models.get(None) is model
    models.close()
    assert model.closed


def test_a_swarm_that_is_not_there_yet_is_tried_again(model: FakeModel) -> None:
    loader = Loader(model, Unavailable("no peer answers"), OSError("odd"), Unavailable("no peer answers"))
    models = Models({NAME: loader}, wait=wait_none())
    models.start()
    until_loaded(models)
    assert loader.calls == 4
    models.close()


@pytest.mark.parametrize(
    "problem", [Broken("shard 3 is corrupt", "delete it"), InvalidInput("architecture X")]
)
def test_what_stays_wrong_is_not_tried_again_and_is_told(model: FakeModel, problem: Exception) -> None:
    loader = Loader(model, problem)
    models = Models({NAME: loader}, wait=wait_none())
    models.start()
    until(lambda: str(problem) in problem_of(models))
    assert loader.calls == 1


def test_an_unknown_model_is_told_what_is_served(model: FakeModel) -> None:
    models = Models({NAME: Loader(model)})
    with pytest.raises(UnknownModel, match=r"'gpt\\ud800' is not served here — use test/parrot"):
        models.get("gpt\ud800")
    with pytest.raises(UnknownModel) as caught:
        models.get("x" * 10**6)
    assert len(str(caught.value)) < 300


def test_closing_while_it_loads_leaves_the_swarm_too(model: FakeModel) -> None:
    loader = Loader(model)
    loader.gate.clear()
    models = Models({NAME: loader})
    models.start()
    models.close()
    loader.gate.set()
    until(lambda: model.closed)


def test_closing_ends_the_tries(model: FakeModel) -> None:
    loader = Loader(model, *[Unavailable("no peer")] * 3)
    models = Models({NAME: loader})  # waits half a second and more between two tries
    models.start()
    until(lambda: loader.calls == 1)
    models.close()
    (thread,) = [thread for thread in threading.enumerate() if thread.name == f"load {NAME}"] or [None]
    if thread is not None:
        thread.join(20)
        assert not thread.is_alive()
    assert not model.closed
