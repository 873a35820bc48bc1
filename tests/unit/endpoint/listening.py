"""The endpoint on a port of the loopback, served by uvicorn as it really is."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from services.common.settings.endpoint import EndpointSettings
from services.endpoint.__main__ import server_config
from services.endpoint.models import Models
from tests.unit.endpoint.conftest import until, until_loaded
from tests.unit.endpoint.fake_model import NAME, FakeModel


@contextmanager
def listening(model: FakeModel, **settings: Any) -> Iterator[str]:
    """Serve ``model`` with these settings; gives host:port."""
    models = Models({NAME: lambda: model})
    config = server_config(EndpointSettings(endpoint_host="127.0.0.1", **settings), models)
    config.port = 0  # the system chooses a free one
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started)
        until_loaded(models)
        yield f"127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()
