"""Models come, go and change their names while the endpoint runs; answers that run go on."""

import gc
import logging
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
from fastapi.testclient import TestClient

from services.common.errors import Broken, InvalidSetting, Unavailable
from services.common.settings.endpoint import EndpointSettings
from services.endpoint.adapted_models import AdaptedModels
from services.endpoint.app import create_app
from services.endpoint.errors import UnknownModel
from services.endpoint.model_file import ModelEntry, read_model_file
from services.endpoint.models import Models, Offer
from services.endpoint.wanted_models import WantedModels
from tests.unit.endpoint.conftest import until
from tests.unit.endpoint.fake_model import NAME, FakeModel
from tests.unit.endpoint.talk import OPEN, PATH, generate, say

OTHER = "test/other"
DEFAULT = ModelEntry(name=NAME, dht_prefix="pool")


def started(*offers: Offer) -> Models:
    models = Models()
    models.offer(offers)
    models.start()
    until(lambda: all(one.model is not None for one in models.served))
    return models


class FakeAdapted(FakeModel):
    """A model with an adapter."""

    def __init__(self, base: FakeModel, adapter: str) -> None:
        super().__init__()
        self.base, self.name = base, adapter


class FakeAdaptable(FakeModel):
    """A model that can be had with adapters."""

    def with_adapter(self, adapter: str) -> FakeAdapted:
        return FakeAdapted(self, adapter)


def test_a_model_and_its_adapters_are_loaded_once_and_named_apart(tmp_path: Path) -> None:
    file, loads = tmp_path / "models.yaml", []

    def load(entry: ModelEntry) -> FakeAdaptable:
        loads.append(entry)
        return FakeAdaptable()

    file.write_text(
        f"models: [{{name: {NAME}, adapter: a/poet, aliases: [poet]}}, {{name: {NAME}}},"
        f" {{name: {NAME}, adapter: a/clerk}}, {{name: {NAME}, revision: old, adapter: a/third}}]"
    )
    models = started(*WantedModels(file, DEFAULT, AdaptedModels(load).load).configured())

    assert models.names == ["a/poet", "poet", NAME, "a/clerk", "a/third"]
    assert sorted(str(entry.revision) for entry in loads) == ["None", "old"]
    assert all(entry.adapter is None and entry.dht_prefix == "pool" for entry in loads)
    poet, clerk = (cast(FakeAdapted, models.get(name)) for name in ("poet", "a/clerk"))
    assert poet.base is models.get(NAME) is clerk.base
    assert [poet.name, clerk.name] == ["a/poet", "a/clerk"]


def test_an_adapter_is_a_name_that_occurs_once(tmp_path: Path) -> None:
    file = tmp_path / "models.yaml"
    file.write_text(f"models: [{{name: {NAME}, adapter: a/poet}}, {{name: {OTHER}, adapter: a/poet}}]")

    with pytest.raises(InvalidSetting, match="the name a/poet occurs twice"):
        read_model_file(file)


def test_what_is_listed_is_what_requests_may_name(model: FakeModel) -> None:
    models = started(Offer(NAME, lambda: model, ("parrot", "p")), Offer(OTHER, FakeModel))
    assert models.names == [NAME, "parrot", "p", OTHER]
    assert models.hub_names == [NAME, OTHER]
    assert models.memory_bytes() == dict.fromkeys([NAME, OTHER], 1_000_000)
    assert [models.get(name) for name in (None, "parrot", "p")] == [model] * 3


def test_a_change_loads_what_is_new_and_nothing_again(model: FakeModel) -> None:
    loads: list[str] = []

    def loader(name: str) -> Callable[[], FakeModel]:
        def load() -> FakeModel:
            loads.append(name)
            return FakeModel()

        return load

    models = started(Offer(NAME, loader("old"), ("parrot",), source=1))
    first = models.get(NAME)
    models.offer([Offer(OTHER, loader("other")), Offer(NAME, loader("same"), ("bird",), source=1)])
    assert models.names == [OTHER, NAME, "bird"]
    assert models.get("bird") is first
    models.offer([Offer(NAME, loader("new revision"), source=2)])
    until(lambda: models.served[0].model is not None)
    assert models.get(NAME) is not first
    with pytest.raises(UnknownModel):
        models.get("parrot")
    assert sorted(loads) == ["new revision", "old", "other"]


def test_a_model_that_goes_while_it_loads_leaves_the_swarm_when_it_has(model: FakeModel) -> None:
    gate = threading.Event()

    def load() -> FakeModel:
        assert gate.wait(20)
        return model

    models = Models({NAME: load})
    models.start()
    models.offer([])
    gate.set()
    until(lambda: model.closed)
    with pytest.raises(Unavailable, match="no model is served yet"):
        models.get(None)


def test_a_model_that_was_found_is_named_when_it_is_loaded() -> None:
    gate = threading.Event()

    def load() -> FakeModel:
        assert gate.wait(20)
        return FakeModel()

    def refuse() -> FakeModel:
        raise Broken("a stranger's files")

    models = Models()
    models.start()
    models.offer([Offer(OTHER, load, asked_for=False), Offer("a/trap", refuse, asked_for=False)])
    assert models.names == []
    with pytest.raises(UnknownModel):
        models.get(OTHER)
    gate.set()
    until(lambda: models.names == [OTHER])


def test_open_sessions_of_a_model_that_goes_are_answered_and_then_its_memory_is_free() -> None:
    models = Models()
    models.offer([Offer(NAME, FakeModel, ("parrot",))])
    with TestClient(create_app(EndpointSettings(), models)) as client:
        until(lambda: models.served[0].model is not None)
        model = cast(FakeModel, models.get(NAME))
        model.gate = threading.Semaphore(1)
        with client.websocket_connect(PATH) as socket:
            assert say(socket, **OPEN | {"model": "parrot"}) == {"ok": True}
            socket.send_json({"type": "generate", "model": "parrot", "inputs": "Hi", "max_new_tokens": 4})
            assert model.stepped.acquire(timeout=20)
            models.offer([Offer(OTHER, FakeModel)])
            model.gate.release(1000)
            assert socket.receive_json()["outputs"] == "Once"
            assert generate(socket, max_new_tokens=5)["outputs"] == " upon"
        gone = weakref.ref(model)
        del model

        def collected() -> bool:
            gc.collect()
            return gone() is None

        until(collected)


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_the_file_names_models_and_how_to_find_them(tmp_path: Path) -> None:
    file = write(
        tmp_path / "models.yaml",
        f"""
        models:
          - name: {OTHER}
            revision: main
            dht_prefix: other-hf
            max_length: 64
            aliases: [gpt-3.5-turbo, "other:latest"]
          - {{name: {NAME}}}
        """,
    )
    loaded: list[ModelEntry] = []

    def load(entry: ModelEntry) -> FakeModel:
        loaded.append(entry)
        return FakeModel()

    offers = WantedModels(file, DEFAULT, load)()
    for offer in offers:
        offer.load()

    assert [(offer.name, offer.aliases) for offer in offers] == [
        (OTHER, ("gpt-3.5-turbo", "other:latest")),
        (NAME, ()),
    ]
    assert (loaded[0].revision, loaded[0].dht_prefix, loaded[0].max_length) == ("main", "other-hf", 64)
    # The prefix of the settings belongs to their model, also where the file lists it
    assert loaded[1].dht_prefix == "pool"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "input should be a valid dictionary"),
        ("- a/b", "input should be a valid dictionary"),
        ("models: [a/b]", "models.0: input should be a valid dictionary"),
        ("models: [{}]", "models.0.name: field required"),
        ("models: [{name: 5}]", "models.0.name: input should be a valid string"),
        ("models: [{name: ../../etc/passwd}]", "models.0.name: string should match pattern"),
        ("models: [{name: a/b, alias: c}]", "models.0.alias: extra inputs"),
        ("models: [{name: a/b, aliases: ['']}]", "models.0.aliases.0: string should match"),
        ("models: [{name: a/b, max_length: 0}]", "models.0.max_length: input should be greater"),
        ("models: [{name: a/b}, {name: c/d, aliases: [a/b]}]", "the name a/b occurs twice"),
        ("models:\n  - name: [", "line 2: "),
        ("models: \x00", "it is no YAML"),
    ],
)
def test_a_file_that_is_wrong_is_told_in_one_line(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(InvalidSetting) as caught:
        read_model_file(write(tmp_path / "models.yaml", text))
    assert problem in str(caught.value)
    assert str(tmp_path / "models.yaml") in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_the_file_is_followed_and_while_it_is_broken_all_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "models.yaml"
    wanted = WantedModels(file, DEFAULT, lambda _: FakeModel())
    models = Models(watch=wanted, watch_seconds=0.01)
    models.offer(wanted.configured())
    models.start()
    assert models.names == [NAME]
    write(file, f"models: [{{name: {OTHER}, aliases: [o]}}]")
    until(lambda: models.names == [OTHER, "o"])
    with caplog.at_level(logging.ERROR):
        write(file, "models: [")
        until(lambda: bool(caplog.records))
    assert models.names == [OTHER, "o"]
    write(file, f"models: [{{name: {NAME}}}, {{name: {OTHER}}}]")
    until(lambda: models.names == [NAME, OTHER])
    file.unlink()
    until(lambda: models.names == [NAME])
    models.close()
