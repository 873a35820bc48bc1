"""Passes outputs on to the servers of the blocks behind, where parts of messages ask for it (``bundles.py``).

A client hears nothing of an output that was passed on. Therefore it is kept until the session's next one, and goes to
the client when the other server refuses it or is lost.
"""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from services.swarm.bundles import Onward, Part, pack, read
from services.swarm.ways import Way

logger = logging.getLogger(__name__)

_MOST_STREAMS = 64
"""Any client may name any server."""
_UNUSED_SECONDS = 600.0
"""After which a stream is closed."""
_RETRY_SECONDS = 60.0
"""After which one that could not be opened, or was lost, may be tried again."""
_LOOK_SECONDS = 1.0
_KEPT_SECONDS = 30.0
"""How long an output may be of use to a client that has not heard of it."""


@dataclass(frozen=True)
class _Message:
    """Outputs that were passed on together.

    Attributes:
        parts: as they would be answered to the client.
        hidden: their outputs, those of the first part first.
        client: the stream to it.
        since: when they were passed on.
    """

    parts: Sequence[Part]
    hidden: torch.Tensor
    client: asyncio.StreamWriter
    since: float

    def answer(self, part: Part) -> None:
        """Send the client the outputs of one part."""
        if not self.client.is_closing():
            number = self.parts.index(part)
            own = self.hidden.split([one.tokens for one in self.parts])[number]
            self.client.write(pack([replace(part, onward=None)], own))


class _Stream:
    """A stream to one handler of another server; opened when it is made, closed when nobody uses it."""

    def __init__(self, way_to: Callable[[Onward], Way], onward: Onward) -> None:
        self._way_to, self._onward = way_to, onward
        self._writer: asyncio.StreamWriter | None = None
        self._kept: dict[str, tuple[Part, _Message]] = {}
        """By the session's name at the other server; each has one step at a time."""
        self._used = time.monotonic()
        self.running = asyncio.create_task(self._run())

    @property
    def open(self) -> bool:
        return self._writer is not None and not self._writer.is_closing()

    def send(self, parts: Sequence[Part], hidden: torch.Tensor, client: asyncio.StreamWriter) -> None:
        """Pass the outputs of these parts on."""
        assert self._writer is not None  # noqa: S101 - ``open`` was asked for
        going = [(part.onward.session, part) for part in parts if part.onward is not None]
        there = [Part(name, part.position, part.tokens, part.number) for name, part in going]
        self._writer.write(pack(there, hidden))
        self._used = time.monotonic()
        message = _Message(parts, hidden, client, self._used)
        self._kept.update({name: (part, message) for name, part in going})

    async def _run(self) -> None:
        try:
            way = self._way_to(self._onward)
            reader, self._writer = await way.connect()
            await self._listen(reader, way)
        except Exception as error:
            # libp2p's daemon has exceptions of its own, and the other peer may say anything
            logger.info(
                "outputs are not passed on", extra={"peer": self._onward.peer, "problem": repr(error)}
            )
        finally:
            if self._writer is not None:
                self._writer.close()
            self._answer(list(self._kept))
        await asyncio.sleep(max(0.0, self._used + _RETRY_SECONDS - time.monotonic()))

    async def _listen(self, reader: asyncio.StreamReader, way: Way) -> None:
        """Take back what the other server refuses, until the stream is lost or unused."""
        coming = asyncio.ensure_future(read(reader))
        try:
            while time.monotonic() < self._used + _UNUSED_SECONDS:
                done, _ = await asyncio.wait({coming}, timeout=_LOOK_SECONDS)
                if done:
                    parts, _ = coming.result()
                    self._answer([part.session for part in parts])
                    coming = asyncio.ensure_future(read(reader))
                oldest = time.monotonic() - _KEPT_SECONDS
                self._kept = {name: kept for name, kept in self._kept.items() if kept[1].since > oldest}
                if self._kept:
                    await way.check()
        finally:
            coming.cancel()

    def _answer(self, sessions: Sequence[str]) -> None:
        for name in sessions:
            if name in self._kept:
                part, message = self._kept.pop(name)
                message.answer(part)


class PassingOn:
    """The streams from one handler to those of other servers.

    Args:
        way_to: makes a way to another server's handler, or raises what is wrong with its name.
    """

    def __init__(self, way_to: Callable[[Onward], Way]) -> None:
        self._way_to = way_to
        self._streams: dict[tuple[str, str], _Stream] = {}

    def pass_on(
        self, parts: Sequence[Part], hidden: torch.Tensor, client: asyncio.StreamWriter
    ) -> tuple[list[Part], torch.Tensor]:
        """Pass the outputs on of those parts that ask for it, and whose server can be reached now.

        Args:
            parts: as they are answered.
            hidden: their outputs, those of the first part first.
            client: where an output goes to after all that could not be passed on.

        Returns:
            The parts that have to be answered here, and their outputs.
        """
        going: dict[_Stream, list[int]] = defaultdict(list)
        for number, part in enumerate(parts):
            if part.onward is not None and part.problem is None:
                stream = self._stream_to(part.onward)
                if stream is not None and stream.open:
                    going[stream].append(number)
        if not going:
            return [replace(part, onward=None) if part.onward else part for part in parts], hidden
        outputs = hidden.split([part.tokens for part in parts])
        for stream, numbers in going.items():
            own = hidden if len(numbers) == len(parts) else torch.cat([outputs[number] for number in numbers])
            stream.send([parts[number] for number in numbers], own, client)
        gone = {number for numbers in going.values() for number in numbers}
        left = [number for number in range(len(parts)) if number not in gone]
        rest = torch.cat([outputs[number] for number in left]) if left else hidden[:0]
        return [replace(parts[number], onward=None) for number in left], rest

    def _stream_to(self, onward: Onward) -> _Stream | None:
        """Return the stream there, which is opened if it is the first one; None if there are too many."""
        key = onward.peer, onward.handler
        stream = self._streams.get(key)
        if stream is None and len(self._streams) < _MOST_STREAMS:
            stream = self._streams[key] = _Stream(self._way_to, onward)
            stream.running.add_done_callback(lambda _: self._streams.pop(key))
        return stream

    def close(self) -> None:
        """End all streams."""
        for stream in list(self._streams.values()):
            stream.running.cancel()
