"""/api/v2/models lists each model, and says which blocks it lacks."""

from collections.abc import Callable

from fastapi.testclient import TestClient

from services.common.errors import Unavailable
from services.common.settings.endpoint import EndpointSettings
from services.endpoint.app import create_app
from services.endpoint.models import Models
from tests.unit.endpoint.conftest import until_loaded
from tests.unit.endpoint.fake_model import NAME, FakeModel


def test_a_model_that_can_be_used(client: TestClient) -> None:
    ready = {"name": NAME, "ready": True, "num_blocks": 30, "missing_blocks": [], "problem": None}
    assert client.get("/api/v2/models").json() == {"models": [ready]}


def test_missing_blocks_are_ranges(serve: Callable[..., TestClient], model: FakeModel) -> None:
    model.missing = [0, *range(10, 20), 29]
    (status,) = serve(model).get("/api/v2/models").json()["models"]
    assert status["ready"] is False
    assert status["missing_blocks"] == [
        {"start_block": 0, "end_block": 1},
        {"start_block": 10, "end_block": 20},
        {"start_block": 29, "end_block": 30},
    ]
    assert status["problem"] == f"{NAME}: no server has blocks 0, 10-19, 29 of 30"


def test_one_model_does_not_hide_another(model: FakeModel) -> None:
    def fails() -> FakeModel:
        raise Unavailable("no peer answers")

    models = Models({"test/broken": fails, NAME: lambda: model})
    with TestClient(create_app(EndpointSettings(), models)) as client:
        until_loaded(models)
        first, second = client.get("/api/v2/models").json()["models"]
    assert (first["name"], first["ready"], first["num_blocks"]) == ("test/broken", False, None)
    assert "no peer answers" in first["problem"]
    assert (second["name"], second["ready"]) == (NAME, True)
