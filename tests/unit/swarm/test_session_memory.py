"""Which sessions are open, and how a server that leaves takes no more of them."""

import asyncio
import multiprocessing as mp
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

import pytest
import torch
from hivemind.utils.tensor_descr import TensorDescriptor

from services.swarm.serving.session_memory import SessionMemory

ROOM = 4096
SECONDS = 60


def _session(memory: SessionMemory, test: Connection) -> None:
    """Be a handler's process with one session: report when it is open or refused, and end it when told to."""

    async def hold() -> None:
        shape = TensorDescriptor((1, 16), dtype=torch.float32, device=torch.device("cpu"))
        try:
            async with memory.allocate_cache(shape, timeout=0):
                test.send("open")
                test.recv()
        except Exception as error:
            test.send(f"{type(error).__name__}: {error}")
        test.send("closed")

    asyncio.run(hold())


@contextmanager
def session(memory: SessionMemory) -> Iterator[Connection]:
    near, far = mp.Pipe()
    process = mp.get_context("fork").Process(target=_session, args=(memory, far))
    process.start()
    try:
        yield near
    finally:
        process.kill()
        process.join()


def said(connection: Connection) -> str:
    assert connection.poll(SECONDS)
    return str(connection.recv())


@pytest.fixture
def memory() -> SessionMemory:
    return SessionMemory(ROOM, max_alloc_timeout=SECONDS)


def test_it_is_in_use_as_long_as_a_session_is_open(memory: SessionMemory) -> None:
    assert not memory.in_use
    with session(memory) as one:
        assert said(one) == "open"
        assert memory.in_use
        one.send("end")
        assert said(one) == "closed"
    assert not memory.in_use


def test_closed_it_keeps_open_sessions_and_takes_no_new_one(memory: SessionMemory) -> None:
    with session(memory) as one:
        assert said(one) == "open"
        memory.close()

        with session(memory) as other:
            assert said(other) == "AllocationFailed: this server is leaving and takes no new session"
        assert memory.in_use
        one.send("end")
        assert said(one) == "closed"
    assert not memory.in_use


def test_it_closes_for_handlers_that_run_already(memory: SessionMemory) -> None:
    ready, go = mp.Pipe()

    def handler(memory: SessionMemory, test: Connection) -> None:
        test.recv()
        _session(memory, test)

    process = mp.get_context("fork").Process(target=handler, args=(memory, go))
    process.start()
    try:
        memory.close()
        ready.send("go")
        assert said(ready).startswith("AllocationFailed")
    finally:
        process.kill()
        process.join()
