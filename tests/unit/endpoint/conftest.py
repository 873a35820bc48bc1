"""The pieces that most tests of the endpoint start from."""

import socket as sockets
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import uvicorn
from fastapi.testclient import TestClient
from starlette.testclient import WebSocketTestSession
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from services.common.errors import Unavailable
from services.common.settings.endpoint import EndpointSettings
from services.endpoint.__main__ import server_config
from services.endpoint.app import create_app
from services.endpoint.models import Models, Offer
from tests.unit.endpoint.fake_model import NAME, FakeModel
from tests.unit.endpoint.grpc_pieces import Served, serving
from tests.unit.endpoint.talk import OPEN, PATH, say


def free_port() -> int:
    with sockets.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition of another thread holds."""
    Retrying(retry=retry_if_result(lambda met: not met), wait=wait_fixed(0.01), stop=stop_after_delay(20))(
        condition
    )


def until_loaded(models: Models) -> None:
    def loaded() -> bool:
        try:
            models.get(NAME)
        except Unavailable:
            return False
        return True

    until(loaded)


@pytest.fixture
def model() -> FakeModel:
    return FakeModel()


@pytest.fixture
def models(model: FakeModel) -> Models:
    """The model under two names, loaded."""
    models = Models()
    models.offer([Offer(NAME, lambda: model, ("parrot",))])
    models.start()
    until_loaded(models)
    return models


@pytest.fixture
async def served(models: Models) -> AsyncIterator[Served]:
    """The endpoint's gRPC around the model."""
    async with serving(models) as served:
        yield served


@pytest.fixture
def serve() -> Iterator[Callable[..., TestClient]]:
    """Starts the endpoint around a model, in this process; keyword arguments are settings."""
    running: list[TestClient] = []

    def start(model: FakeModel, **settings: Any) -> TestClient:
        models = Models({NAME: lambda: model})
        client = TestClient(create_app(EndpointSettings(**settings), models))
        client.__enter__()
        running.append(client)
        until_loaded(models)
        return client

    yield start
    for client in running:
        client.__exit__(None, None, None)


@pytest.fixture
def client(serve: Callable[..., TestClient], model: FakeModel) -> TestClient:
    return serve(model)


@pytest.fixture
def socket(client: TestClient) -> Iterator[WebSocketTestSession]:
    with client.websocket_connect(PATH) as socket:
        yield socket


@pytest.fixture
def session(socket: WebSocketTestSession) -> WebSocketTestSession:
    assert say(socket, **OPEN) == {"ok": True}
    return socket


class Servers:
    """Starts servers around a model and returns their host:port; keyword arguments are settings."""

    def __init__(self, model: FakeModel) -> None:
        self.ping_interval = 20.0
        """Seconds; longer than any test."""
        self._model = model
        self._running: list[tuple[uvicorn.Server, threading.Thread]] = []

    def __call__(self, **settings: Any) -> str:
        models = Models({NAME: lambda: self._model})
        settings = {"endpoint_host": "127.0.0.1", "grpc_listen_port": free_port(), **settings}
        config = server_config(EndpointSettings(**settings), models)
        config.ws_ping_interval = self.ping_interval
        config.port = 0  # the system chooses a free one
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run)
        thread.start()
        self._running.append((server, thread))
        until(lambda: server.started)
        until_loaded(models)
        return f"127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"

    def stop(self, patience: float = 3.0) -> None:
        """Stop them as a signal does, giving requests so many seconds."""
        for server, _ in self._running:
            server.config.timeout_graceful_shutdown = patience  # type: ignore[assignment]
            server.should_exit = True

    def join(self) -> None:
        for _, thread in self._running:
            thread.join(20)
            assert not thread.is_alive()


@pytest.fixture
def listen(model: FakeModel) -> Iterator[Servers]:
    servers = Servers(model)
    yield servers
    servers.stop()
    servers.join()
