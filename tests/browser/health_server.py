"""The health exporter on a port of the loopback, with a swarm that tests arrange by hand."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from services.health.app import create_app
from services.health.collector import Collector
from services.health.history import History
from tests.unit.health.swarm_fakes import FakeDirectory

NOWHERE = Path("/none")


class HealthServer:
    """A running exporter.

    Attributes:
        directory: what it reads; a change shows with the next look.
        collector: looks five times a second.
        url: of the page.
    """

    def __init__(self, directory: FakeDirectory, certificates: Path = NOWHERE, disk: Path = NOWHERE) -> None:
        self.directory = directory
        self.collector = Collector(directory.connect, 0.2, History(Path(":memory:")))
        config = uvicorn.Config(
            create_app(self.collector, certificates, disk),
            port=0,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=lambda: asyncio.run(self._server.serve()), daemon=True)

    @property
    def url(self) -> str:
        port = self._server.servers[0].sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{port}/"

    def start(self) -> None:
        self._thread.start()
        until = Retrying(
            retry=retry_if_result(lambda ready: not ready), wait=wait_fixed(0.02), stop=stop_after_delay(20)
        )
        until(lambda: self._server.started and self.collector.knowledge.snapshot is not None)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(20)


@contextmanager
def health_server(
    directory: FakeDirectory, certificates: Path = NOWHERE, disk: Path = NOWHERE
) -> Iterator[HealthServer]:
    server = HealthServer(directory, certificates, disk)
    server.start()
    try:
        yield server
    finally:
        server.stop()
