"""Carries tasks from connection handlers' processes to the runtime's and answers back: a socket for each handler.

Petals' pools have a queue and a pipe for tasks; hivemind's futures have shared memory, a pipe and a thread for
answers. A step woke six threads on its way through them; here the thread that computes reads and answers itself.
"""

import asyncio
import pickle
import selectors
import socket
import struct
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import Any

_HEAD = struct.Struct("=QQ")
"""Length and number of the message behind it; an answer has the number of its task."""
_SENT_AT_ONCE = 2**17
"""Bytes of an answer that a socket takes without waiting for its reader; Linux lets it hold 200 KiB."""


@dataclass(frozen=True)
class Reply:
    """Where the answer to a task goes."""

    _channels: "Channels"
    _handler: int
    _number: int

    def set_result(self, outputs: Any) -> None:
        """Answer with the task's outputs."""
        self._channels.answer(self._handler, self._number, outputs)

    def set_exception(self, error: BaseException) -> None:
        """Answer with what the task failed on."""
        self._channels.answer(self._handler, self._number, error)


Receiver = Callable[[Reply, Any], None]
"""Takes a task in the runtime's process."""


class Channels:
    """Made, and given its receivers, before handlers are forked; then each handler connects, and the runtime starts.

    Args:
        handlers: how many there will be.
    """

    def __init__(self, handlers: int) -> None:
        pairs = [socket.socketpair() for _ in range(handlers)]
        self._ends, self._handlers_ends = [own for own, _ in pairs], [theirs for _, theirs in pairs]
        self._sending = [threading.Lock() for _ in pairs]
        self._sender = ThreadPoolExecutor(1, "answers")
        self._selector = selectors.DefaultSelector()
        self._receivers: list[Receiver] = []
        self._asking: _Asking | None = None

    def add(self, receiver: Receiver) -> int:
        """Return the number that tasks for this receiver are sent to."""
        self._receivers.append(receiver)
        return len(self._receivers) - 1

    async def connect(self, handler: int) -> None:
        """Become the handler of this number, in its process."""
        own = self._handlers_ends[handler]
        for end in (*self._ends, *self._handlers_ends):
            if end is not own:  # who holds the end of another process would hide that it is gone
                end.close()
        self._asking = _Asking(*await asyncio.open_unix_connection(sock=own))

    async def ask(self, receiver: int, task: Any) -> Any:
        """Send a task from a handler's process, and return its outputs.

        Raises:
            ConnectionError: the runtime's process is gone, or this one has not connected.
            Exception: what the task failed on.
        """
        if self._asking is None:
            raise ConnectionError("this process is not connected to the server's runtime")
        return await self._asking.ask((receiver, task))

    def start(self) -> None:
        """Take tasks from now on, in the runtime's process; all handlers have been forked."""
        for end in self._handlers_ends:
            end.close()
        for handler, end in enumerate(self._ends):
            self._selector.register(end, selectors.EVENT_READ, handler)
        self._sender.submit(int)  # starts its thread, which the one that computes would bind to its own core

    @property
    def open(self) -> bool:
        """Tell whether tasks may still come."""
        return bool(self._selector.get_map())

    def receive(self, timeout: float | None) -> bool:
        """Give tasks that have come to their receivers, one of each handler at the most.

        Args:
            timeout: the most seconds to wait for the first one; None to wait until one comes, or none can any more.

        Returns:
            Whether to look again at once.
        """
        ready = self._selector.select(timeout)
        for key, _ in ready:
            if not self._receive_from(key.data):
                self._give_up(key.data)
        return bool(ready)

    def _receive_from(self, handler: int) -> bool:
        """Receive a task; tell whether the handler is still there.

        The handler writes as fast as this reads, so a long message is waited for.
        """
        end = self._ends[handler]
        try:
            length, number = _HEAD.unpack(_read(end, _HEAD.size))
            receiver, task = pickle.loads(_read(end, length))  # noqa: S301 - from a process of this server
        except OSError:
            return False
        self._receivers[receiver](Reply(self, handler, number), task)
        return True

    def _give_up(self, handler: int) -> None:
        end = self._ends[handler]
        self._selector.unregister(end)
        with self._sending[handler]:  # or its number might be another file's before an answer is sent
            end.close()

    def answer(self, handler: int, number: int, outcome: Any) -> None:
        """Send what became of a task; nobody hears it if the handler is gone.

        A long answer is sent by another thread, for the next tasks shall not wait until it is read.
        """
        message = _message(number, outcome)
        if len(message) <= _SENT_AT_ONCE:
            self._send(handler, message)
        else:
            self._sender.submit(self._send, handler, message)

    def _send(self, handler: int, message: bytes) -> None:
        with self._sending[handler], suppress(OSError):
            self._ends[handler].sendall(message)

    def close(self) -> None:
        """Let no more tasks come, in the runtime's process; who waits in ``receive`` learns it."""
        for end in self._ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._sender.shutdown(wait=False)


class _Asking:
    """A handler's end of its channel, in its event loop."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer, self._numbers = writer, count()
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._reading = asyncio.create_task(self._take_answers(reader))

    async def ask(self, task: Any) -> Any:
        if self._reading.done():
            raise _ended()
        number = next(self._numbers)
        answer = self._asked[number] = asyncio.get_running_loop().create_future()
        try:
            self._writer.write(_message(number, task))
            with suppress(ConnectionError):  # then there is no answer to wait for either
                await self._writer.drain()
            return await answer
        finally:
            del self._asked[number]

    async def _take_answers(self, reader: asyncio.StreamReader) -> None:
        with suppress(asyncio.IncompleteReadError, OSError):
            while True:
                length, number = _HEAD.unpack(await reader.readexactly(_HEAD.size))
                content = await reader.readexactly(length)
                answer = self._asked.get(number)
                if answer is not None and not answer.done():
                    _settle(answer, content)
        for answer in self._asked.values():
            if not answer.done():
                answer.set_exception(_ended())


def _ended() -> ConnectionError:
    return ConnectionError("this server's runtime has ended")


def _read(end: socket.socket, size: int) -> bytearray:
    content = bytearray(size)
    there, view = 0, memoryview(content)
    while there < size:
        if not (more := end.recv_into(view[there:], size - there, socket.MSG_WAITALL)):
            raise ConnectionError("the handler is gone")
        there += more
    return content


def _message(number: int, content: Any) -> bytes:
    try:
        data = pickle.dumps(content, pickle.HIGHEST_PROTOCOL)
    except Exception as error:  # an exception of foreign code may hold anything
        if not isinstance(content, BaseException):
            raise
        data = pickle.dumps(RuntimeError(f"{content!r}, which cannot be sent: {error!r}"))
    return _HEAD.pack(len(data), number) + data


def _settle(answer: asyncio.Future[Any], content: bytes) -> None:
    try:
        outcome = pickle.loads(content)  # noqa: S301 - from a process of this server
    except Exception as error:  # some exceptions cannot be made again from what they were made of
        outcome = RuntimeError(f"an answer that cannot be read: {error!r}")
    if isinstance(outcome, BaseException):
        answer.set_exception(outcome)
    else:
        answer.set_result(outcome)
