"""How the helper ends a server: it says first how long sessions may go on, then waits a little longer than that."""

from types import SimpleNamespace
from typing import Any

import pytest

from scripts.helper.commands.sharing import end_server
from scripts.helper.context import Context
from scripts.helper.engine import Engine
from tests.unit.helper.helper_fakes import Written, container


class FakeServer:
    """A container that notes in ``calls`` what is done with it."""

    def __init__(self, code: int = 0, errors: bytes = b"") -> None:
        self.calls: list[Any] = []
        self._answer = SimpleNamespace(code=code, errors=errors)

    def exec_run(self, command: list[str], **_: Any) -> tuple[int, tuple[bytes, bytes]]:
        self.calls.append(command)
        return self._answer.code, (b"", self._answer.errors)

    def stop(self, timeout: int) -> None:
        self.calls.append(timeout)

    @property
    def engine(self) -> Engine:
        client = SimpleNamespace(containers=SimpleNamespace(get=lambda _: self))
        return Engine(client, client)


@pytest.fixture
def written() -> Written:
    return Written()


def test_the_server_hears_of_its_grace_before_it_is_stopped(written: Written) -> None:
    server = FakeServer()

    end_server(Context("calyx", steps=written), server.engine, container("server"), grace=60)

    told, seconds = server.calls
    assert told == ["python", "-m", "services.server.pausing", "60"]
    assert seconds > 60


def test_the_server_hears_that_it_is_paused(written: Written) -> None:
    server = FakeServer()

    end_server(Context("calyx", steps=written), server.engine, container("server"), grace=60, paused=True)

    assert server.calls[0] == ["python", "-m", "services.server.pausing", "60", "paused"]


def test_a_server_that_cannot_be_told_is_stopped_all_the_same(written: Written) -> None:
    server = FakeServer(1, b"writing /run/calyx/sessions_until: No space left on device\n")

    end_server(Context("calyx", steps=written), server.engine, container("server"), grace=60)

    assert len(server.calls) == 2
    assert "could not be told: writing /run/calyx/sessions_until: No space left" in written.text


def test_a_server_that_is_being_started_again_cannot_be_told(written: Written) -> None:
    server = FakeServer()

    end_server(Context("calyx", steps=written), server.engine, container("server", "restarting"), grace=60)

    assert len(server.calls) == 1
