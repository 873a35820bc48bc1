"""Runs coroutines on the event loop of hivemind's connections for callers on another one.

asyncio's own way wakes the other thread for each call and each answer. Sessions that step together come and go
together too, so calls and answers of one turn of a loop cross in one go.
"""

import asyncio
import os
from collections.abc import Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from hivemind.moe.client.remote_expert_worker import RemoteExpertWorker

Result = TypeVar("Result")


@dataclass(eq=False)
class _Call:
    """A coroutine on its way, and the future that its caller waits for."""

    work: Coroutine[Any, Any, Any]
    answer: asyncio.Future[Any]
    task: asyncio.Task[Any] | None = None


class Crossing:
    """Carries calls of the loop ``here`` to the loop ``there``, which runs in another thread."""

    def __init__(self, here: asyncio.AbstractEventLoop, there: asyncio.AbstractEventLoop) -> None:
        self._here, self._there = here, there
        self._going: list[_Call] = []
        self._coming: list[_Call] = []

    def send(self, work: Coroutine[Any, Any, Result]) -> asyncio.Future[Result]:
        """Run a coroutine there; cancelling the future cancels it."""
        call = _Call(work, self._here.create_future())
        call.answer.add_done_callback(lambda answer: self._cancel(call) if answer.cancelled() else None)
        if not self._going:
            self._here.call_soon(self._go)
        self._going.append(call)
        return call.answer

    def _go(self) -> None:
        going, self._going = self._going, []
        self._there.call_soon_threadsafe(self._start, going)

    def _cancel(self, call: _Call) -> None:
        if call in self._going:
            self._going.remove(call)
            call.work.close()
        else:
            self._there.call_soon_threadsafe(lambda: call.task.cancel() if call.task else None)

    def _start(self, going: list[_Call]) -> None:
        for call in going:
            call.task = self._there.create_task(call.work)
            call.task.add_done_callback(partial(self._ended, call))

    def _ended(self, call: _Call, _: asyncio.Task[Any]) -> None:
        if not self._coming:
            self._there.call_soon(self._come)
        self._coming.append(call)

    def _come(self) -> None:
        coming, self._coming = self._coming, []
        if not self._here.is_closed():
            self._here.call_soon_threadsafe(_deliver, coming)


def _deliver(coming: list[_Call]) -> None:
    for call in coming:
        if call.task is None or call.task.cancelled():
            call.answer.cancel()
        elif (problem := call.task.exception()) is not None:
            if not call.answer.done():
                call.answer.set_exception(problem)
        elif not call.answer.done():
            call.answer.set_result(call.task.result())


_crossings: dict[asyncio.AbstractEventLoop, Crossing] = {}


def in_swarm(work: Coroutine[Any, Any, Result]) -> asyncio.Future[Result]:
    """Run a coroutine on the event loop of hivemind's connections; cancelling the future cancels it."""
    here, there = asyncio.get_running_loop(), _loop_of_connections()
    if here is there:
        return here.create_task(work)
    if here not in _crossings:
        for loop in [loop for loop in _crossings if loop.is_closed()]:
            del _crossings[loop]
        _crossings[here] = Crossing(here, there)
    return _crossings[here].send(work)


def _loop_of_connections() -> asyncio.AbstractEventLoop:
    if RemoteExpertWorker._event_loop_fut is None or RemoteExpertWorker._pid != os.getpid():
        RemoteExpertWorker.run_coroutine(asyncio.sleep(0))  # starts the thread
    loop: asyncio.AbstractEventLoop = RemoteExpertWorker._event_loop_fut.result()
    return loop
