"""Stands between the helper and the engine, and goes away in the middle: the engine itself is left alone."""

import os
import shutil
import socket
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import Self

REAL = Path(os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://"))


class EngineProxy:
    """Forwards a Unix socket until a request holds certain bytes; then it is as gone as a dead engine.

    Args:
        until: the bytes, such as part of a path of the engine's API.
        answer: what is said instead of forwarding, to every request; None forwards.
    """

    def __init__(self, until: bytes, answer: bytes | None = None) -> None:
        self._until = until
        self._answer = answer
        self._folder = tempfile.mkdtemp(prefix="calyx-")  # pytest's own are too long for a socket's name
        self._listener = socket.socket(socket.AF_UNIX)
        self._open: list[socket.socket] = [self._listener]
        self.address = f"unix://{self._folder}/engine"
        """For ``DOCKER_HOST``."""
        self.gone = threading.Event()
        """Set once the bytes were seen."""

    def __enter__(self) -> Self:
        self._listener.bind(self.address.removeprefix("unix://"))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._close_all()
        shutil.rmtree(self._folder)

    def _accept(self) -> None:
        with suppress(OSError):  # the listener was closed
            while True:
                near = self._listener.accept()[0]
                self._open.append(near)
                if self._answer is not None:
                    threading.Thread(target=self._lie, args=(near,), daemon=True).start()
                    continue
                far = socket.socket(socket.AF_UNIX)
                far.connect(str(REAL))
                self._open.append(far)
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=self._forward, args=(*pair, pair[0] is near), daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket, watched: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if watched and self._until in data:
                    self.gone.set()
                    self._close_all()
                    return
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def _lie(self, near: socket.socket) -> None:
        with suppress(OSError):
            while near.recv(65536):
                near.sendall(self._answer or b"")

    def _close_all(self) -> None:
        for one in self._open:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
