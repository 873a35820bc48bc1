"""Sends steps of many sessions to a server in one message: the client's side of ``services.swarm.bundles``.

Belongs to hivemind's event loop.
"""

import asyncio
from dataclasses import dataclass
from itertools import count
from weakref import WeakValueDictionary

import torch
from hivemind.p2p import P2P, PeerID

from services.swarm.bundles import Onward, Part, pack, read
from services.swarm.client.chain import MESSAGE_TOKENS
from services.swarm.client.connected import LOOK_SECONDS
from services.swarm.client.onward import Heard, NextFailed
from services.swarm.ways import Way, WayToHandler

_NUMBERS = count()
"""Of steps; over all lanes, for a step may be answered on another one."""


@dataclass(frozen=True)
class _Step:
    """Tokens that have left or are about to, and whom their outputs are for.

    Attributes:
        following: the lane of the server behind, on which it may be answered too.
    """

    part: Part
    hidden: torch.Tensor
    answer: asyncio.Future[Heard]
    since: float
    following: "Lane | None" = None


class Lane:
    """A stream to one handler of a server, which those sessions share that use the same blocks of it.

    It is connected by the first step, and again by the first one after it was lost.

    Args:
        way: to the handler.
        answer_timeout: seconds until a step must have been answered.
    """

    def __init__(self, way: Way, answer_timeout: float) -> None:
        self._way, self._answer_timeout = way, answer_timeout
        self._leaving: list[_Step] = []
        self._awaited: dict[int, _Step] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._running: asyncio.Task[None] | None = None
        self.connection = 0
        """The number of the connection that is open, or of the latest one."""

    async def step(self, session: str, position: int, hidden: torch.Tensor) -> torch.Tensor:
        """Send the next tokens [tokens, hidden] of a session and return what the server's blocks make of them.

        Whoever steps in the same turn of the loop goes along.

        Raises:
            ConnectionError: the stream is lost.
            TimeoutError: the server does not answer.
            RuntimeError: the server has a problem with this step.
        """
        step = self._start(Part(session, position, len(hidden), next(_NUMBERS)), hidden)
        try:
            return (await step.answer).outputs
        finally:
            self._awaited.pop(step.part.number, None)

    async def step_onward(
        self, session: str, position: int, hidden: torch.Tensor, onward: Onward, following: "Lane"
    ) -> Heard:
        """Do the same, and let the server pass its outputs on to the one behind.

        Args:
            session: at this server.
            position: how many tokens it holds, and the session at the server behind as well.
            hidden: the tokens.
            onward: the session at the server behind.
            following: the lane to there.

        Raises:
            NextFailed: the server behind fails, as below.
            Exception: as ``step``.
        """
        part = Part(session, position, len(hidden), next(_NUMBERS), onward=onward)
        step = self._start(part, hidden, following)
        following._awaited[part.number] = step
        try:
            return await step.answer
        finally:
            for lane in (self, following):
                lane._awaited.pop(part.number, None)

    def _start(self, part: Part, hidden: torch.Tensor, following: "Lane | None" = None) -> _Step:
        loop = asyncio.get_running_loop()
        step = _Step(part, hidden, loop.create_future(), loop.time(), following)
        self._awaited[part.number] = step
        if not self._leaving:
            loop.call_soon(self._leave)
        self._leaving.append(step)
        return step

    def close(self) -> None:
        """End the stream; steps that wait fail."""
        if self._running is not None:
            self._running.cancel()

    def _leave(self) -> None:
        if self._writer is not None:
            self._write(self._writer)
        elif self._running is None:
            self._running = asyncio.get_running_loop().create_task(self._run())

    def _write(self, writer: asyncio.StreamWriter) -> None:
        leaving = [step for step in self._leaving if not step.answer.done()]
        self._leaving = []
        some: list[_Step] = []
        for step in leaving:
            if sum(one.part.tokens for one in some) + step.part.tokens > MESSAGE_TOKENS:
                self._send(writer, some)
                some = []
            some.append(step)
        if some:
            self._send(writer, some)

    def _send(self, writer: asyncio.StreamWriter, steps: list[_Step]) -> None:
        try:
            writer.write(pack([step.part for step in steps], torch.cat([step.hidden for step in steps])))
        except (KeyError, RuntimeError) as error:  # numbers of another type or width than the others
            for step in steps:
                self._fail(step, error)

    async def _run(self) -> None:
        """Connect, and give answers to those who wait until the stream ends."""
        problem: Exception = ConnectionError("the stream for steps of many sessions is closed")
        try:
            reader, self._writer = await self._way.connect()
            self.connection += 1
            self._write(self._writer)
            while True:
                self._take(*await self._message(reader))
        except asyncio.IncompleteReadError:
            problem = ConnectionError("the stream for steps of many sessions is lost")
        except Exception as error:
            problem = error
        finally:
            if self._writer is not None:
                self._writer.close()
            self._writer = self._running = None
            self._leaving = []
            for step in self._awaited.values():
                self._fail(step, problem)

    async def _message(self, reader: asyncio.StreamReader) -> tuple[list[Part], torch.Tensor]:
        coming = asyncio.ensure_future(read(reader))
        try:
            while not (await asyncio.wait({coming}, timeout=LOOK_SECONDS))[0]:
                if self._awaited:
                    await self._way.check()
                self._give_up_old_ones()
            return coming.result()
        finally:
            coming.cancel()

    def _give_up_old_ones(self) -> None:
        oldest = asyncio.get_running_loop().time() - self._answer_timeout
        for step in self._awaited.values():
            if step.since < oldest:
                self._fail(
                    step, TimeoutError(f"the server has not answered for {self._answer_timeout:.0f} s")
                )

    def _take(self, parts: list[Part], hidden: torch.Tensor) -> None:
        for part, own in zip(parts, hidden.split([part.tokens for part in parts]), strict=True):
            step = self._awaited.get(part.number)
            if step is None:
                continue  # its session has left meanwhile
            if part.problem is not None:
                self._fail(step, RuntimeError(part.problem))
            elif not step.answer.done():
                # A copy, or each would keep the whole message in memory
                step.answer.set_result(Heard(own.clone(), step.following is self))

    def _fail(self, step: _Step, problem: Exception) -> None:
        if step.answer.done():
            return
        if step.following is self:
            failed = NextFailed(str(problem))
            failed.__cause__ = problem
            problem = failed
        step.answer.set_exception(problem)


class Lanes:
    """The streams to all servers.

    Args:
        p2p: this process's way to its libp2p daemon.
        connect_timeout: seconds until a server must have taken a stream.
        answer_timeout: seconds until a step must have been answered.
    """

    def __init__(self, p2p: P2P, connect_timeout: float, answer_timeout: float) -> None:
        self._p2p, self._connect_timeout, self._answer_timeout = p2p, connect_timeout, answer_timeout
        # Sessions keep theirs, and an open stream keeps its own; those of servers that are gone vanish
        self._lanes: WeakValueDictionary[tuple[str, str], Lane] = WeakValueDictionary()

    def to(self, peer: PeerID, name: str, kind: str) -> Lane:
        """Return the stream of this name, for sessions of one kind: with the same blocks and the same adapter."""
        lane = self._lanes.get((name, kind))
        if lane is None:
            way = WayToHandler(self._p2p, peer, name, self._connect_timeout)
            lane = self._lanes[name, kind] = Lane(way, self._answer_timeout)
        return lane

    def close(self) -> None:
        """End all streams."""
        for lane in list(self._lanes.values()):
            lane.close()
