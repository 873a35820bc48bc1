"""A swarm of real processes on the loopback, without containers: for tests of the engine and for measurements."""

import itertools
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from services.common.heartbeat import Heartbeat
from services.common.settings import SwarmSettings
from services.swarm.model import SwarmModel
from tests.blocking_client import BlockingClient

ROOT = Path(__file__).parents[1]
START_SECONDS = 120
"""Long enough for a busy machine to import torch, join the swarm and load a small model."""


def free_port() -> int:
    """Return a TCP port that nothing on this machine listens on."""
    with socket.socket() as one:
        one.bind(("0.0.0.0", 0))
        return int(one.getsockname()[1])


def until(condition: Callable[[], bool], seconds: float = START_SECONDS) -> None:
    """Call ``condition`` until it holds; RetryError after so many seconds."""
    Retrying(
        retry=retry_if_result(lambda met: not met), wait=wait_fixed(0.1), stop=stop_after_delay(seconds)
    )(condition)


class Room:
    """``python -m services.<name>`` in a session of its own, so that it can be ended with all its children.

    Args:
        name: the room.
        folder: where its identity, its heartbeat and its log are kept.
        settings: environment variables beside those that every process needs.
    """

    def __init__(self, name: str, folder: Path, **settings: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.name, self.folder = name, folder
        self.heartbeat = Heartbeat(folder / "heartbeat.json")
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("CALYX_", "HF_"))}
        with (folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", f"services.{name}", str(folder / "heartbeat.json")],
                cwd=ROOT,
                env={**kept, "PYTHONPATH": str(ROOT), "CALYX_ANNOUNCE_HOST": "127.0.0.1", **settings},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Return the number of the first process, whose children all others are."""
        return self._process.pid

    @property
    def log(self) -> str:
        """Return everything that the process has written so far."""
        return (self.folder / "log").read_text()

    def until_logged(self, text: str, seconds: float = START_SECONDS) -> None:
        """Wait until the log holds ``text``; AssertionError if the process ends before that."""

        def logged() -> bool:
            ended = self._process.poll() is not None
            found = text in self.log
            assert found or not ended, f"{self.name} ended before {text!r}:\n{self.log}"
            return found

        until(logged, seconds)

    def terminate(self) -> None:
        """Send SIGTERM to the process alone, as a container's init does."""
        self._process.terminate()

    def wait(self, seconds: float = START_SECONDS) -> int:
        """Return the exit code; TimeoutExpired if the process runs longer."""
        return self._process.wait(seconds)

    def members(self) -> list[psutil.Process]:
        """Return every living process of this room's session, orphans included."""
        found = []
        for process in psutil.process_iter():
            try:
                if os.getsid(process.pid) == self._process.pid and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except (ProcessLookupError, psutil.NoSuchProcess):
                continue
        return found

    def freeze(self) -> None:
        """Let no process of the session run any more, as a machine that hangs; ``kill`` ends them all the same."""
        for process in self.members():
            process.suspend()

    def kill(self) -> None:
        """End the whole session at once, as a crash or a lost machine does; safe to call again."""
        for process in self.members():
            try:
                os.kill(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self._process.wait(START_SECONDS)


def until_served(client: BlockingClient) -> None:
    """Wait until the swarm has every block of the client's model online."""
    until(lambda: client.missing_blocks() == [])


class Swarm:
    """A bootstrap peer, and servers and clients that enter through it. Leaves no process behind.

    Args:
        folder: for everything that processes keep.
        models: the folder whose sub-folders ``<owner>/<name>`` hold models.
    """

    def __init__(self, folder: Path, models: Path) -> None:
        self.models, self.cache = models, folder / "cache"
        self._folder = folder
        self._numbers = itertools.count()
        self._rooms: list[Room] = []
        self._bootstrap_port = free_port()
        self.bootstrap = self._start_bootstrap()

    def _start_bootstrap(self) -> Room:
        return self._start(
            "bootstrap",
            CALYX_BOOTSTRAP_PORT=str(self._bootstrap_port),
            CALYX_BOOTSTRAP_IDENTITY=str(self._folder / "bootstrap.key"),
            CALYX_BOOTSTRAP_ADDRESSES=str(self._folder / "initial_peers"),
        )

    def restart_bootstrap(self) -> None:
        """Lose the bootstrap peer, and start it again with the same key at the same address."""
        self.stop(self.bootstrap)
        self.bootstrap = self._start_bootstrap()

    def _start(self, room: str, **settings: str) -> Room:
        started = Room(room, self._folder / f"{next(self._numbers)}-{room}", **settings)
        self._rooms.append(started)
        return started

    @property
    def initial_peers(self) -> list[str]:
        """Return the addresses to enter through, as soon as the bootstrap peer has written them."""
        self.bootstrap.until_logged("bootstrap peer is up")
        return (self._folder / "initial_peers").read_text().split()

    def serve(self, model: str, blocks: str | None = None, **settings: str) -> Room:
        """Start a server; ``blocks`` are written ``first:end``, and ``settings`` win over all defaults."""
        port = free_port()
        defaults = {
            "CALYX_MODEL": model,
            "CALYX_MODELS_DIR": str(self.models),
            "CALYX_CACHE_DIR": str(self.cache),
            "CALYX_INITIAL_PEERS": " ".join(self.initial_peers),
            "CALYX_SERVER_PORT": str(port),
            "CALYX_SERVER_IDENTITY": str(self._folder / f"{port}.key"),
            "CALYX_DTYPE": "float32",
            "CALYX_NUM_HANDLERS": "1",
            "CALYX_ANNOUNCE_PERIOD": "5",
            "HF_HUB_OFFLINE": "1",
        }
        if blocks is not None:
            defaults["CALYX_BLOCK_INDICES"] = blocks
        return self._start("server", **(defaults | settings))

    def settings(self, model: str) -> SwarmSettings:
        """Return how a client of this process finds the model and the swarm."""
        return SwarmSettings.load(
            model=model,
            models_dir=self.models,
            cache_dir=self.cache,
            initial_peers=self.initial_peers,
            hf_hub_offline=True,
        )

    @contextmanager
    def client(
        self, model: str, *, dtype: str = "float32", route_timeout: float = 15.0, draft: str | None = None
    ) -> Iterator[BlockingClient]:
        """Join the swarm as a client of the model, in this process, until the context ends."""
        client = SwarmModel.load(self.settings(model), dtype, route_timeout, draft=draft)
        try:
            yield BlockingClient(client)
        finally:
            client.close()

    def stop(self, *rooms: Room) -> None:
        """End these servers at once, and show their logs no more."""
        for room in rooms:
            room.kill()
            self._rooms.remove(room)

    def logs(self) -> str:
        """Return the logs of all processes, each under its name."""
        return "\n".join(f"--- {room.folder.name}\n{room.log}" for room in self._rooms)

    def close(self) -> None:
        """End everything, whatever state it is in."""
        for room in self._rooms:
            room.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
