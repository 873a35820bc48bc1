"""The servers that hold one text, in a row, and what to do when one of them is lost."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count, pairwise
from typing import Any

import torch

from services.swarm.client.history import History, PassedOn
from services.swarm.client.onward import NextFailed
from services.swarm.client.roles import Address, Routes, Stream

logger = logging.getLogger(__name__)

MESSAGE_TOKENS = 512
"""The most tokens of hidden states in one message, so that none outgrows libp2p's limits."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 4.0


@dataclass(eq=False)
class _Link:
    """A span in use, and how many of the text's tokens its server holds; ``lost`` ones are replaced when needed."""

    span: Any
    stream: Stream
    position: int = 0
    lost: bool = False


class Chain:
    """One text's way through all blocks.

    The inputs of every link are kept. When its server is lost, another one hears them all, and what it returns is
    more than the links behind need: each takes the last tokens, as many as it lacks. Inputs that one server passed on
    to the next are not known here; if they are needed, the first one goes back and computes them again.

    Args:
        routes: where servers are found.
        max_length: the most tokens that the text may have.
        patience: seconds from a step's first failure on after which no other server is tried.
        clock: monotonic time in seconds.
    """

    def __init__(
        self, routes: Routes, max_length: int, patience: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._routes, self._max_length = routes, max_length
        self._patience, self._clock = patience, clock
        self._links: list[_Link] = []
        self._histories: dict[int, History] = {0: History()}
        self._leaving: set[asyncio.Task[None]] = set()
        self._steps = count()
        self._pushed_to = 0
        """The last link that hears this step's tokens from the one before it."""
        self.position = 0
        """How many tokens the servers hold."""

    async def step(self, hidden: torch.Tensor) -> torch.Tensor:
        """Run the next tokens [1, tokens, hidden], ``MESSAGE_TOKENS`` at most, through all blocks.

        When it fails or is cancelled, the text is where it was before, and the step may be tried again.

        Raises:
            Exception: what the last attempt failed on.
        """
        end = self.position + hidden.shape[1]
        step_id = str(next(self._steps))
        self._pushed_to = 0
        outputs, index, block = hidden, 0, 0
        try:
            with self._routes.company:
                while block < self._routes.num_blocks:
                    history = self._histories.setdefault(block, History())
                    history.extend_to(end, outputs)
                    try:
                        outputs, passed = await self._pass(index, block, history, step_id)
                    except PassedOn as lacking:
                        # Under another name, for a server runs a step once
                        step_id, index = str(next(self._steps)), index - 1
                        block, outputs = self._links[index].span.start, outputs[:, :0]
                        _go_back(self._links[index], lacking.position)
                    else:
                        index += passed
                        block = self._links[index - 1].span.end
        except BaseException:
            self._start_over()
            raise
        self.position = end
        return outputs[:, -hidden.shape[1] :]

    @property
    def spans(self) -> list[Any]:
        """Return the spans in use, in the order of their blocks; there are none before the first step."""
        return [link.span for link in self._links]

    @property
    def goes_back(self) -> bool:
        """Return whether all servers in use are known to understand ``go_back``; none is before the first step."""
        return bool(self._links) and all(link.stream.goes_back for link in self._links)

    def go_back(self, position: int) -> None:
        """Forget the tokens after the first ``position``.

        Servers of ours forget them with the next step. A stock server knows no way back: the next step opens a new
        session on it or on another one, which hears the text again.
        """
        for history in self._histories.values():
            history.truncate(position)
        for link in self._links:
            _go_back(link, position)
        self.position = position

    async def close(self) -> None:
        """Free the memory of all servers; never raises."""
        links, self._links = self._links, []
        self._leave(links)
        if self._leaving:
            await asyncio.wait(self._leaving)

    async def _pass(self, index: int, block: int, history: History, step_id: str) -> tuple[torch.Tensor, int]:
        """Bring the link up to the end of its history, and the one behind too if it passes on to that.

        Returns:
            The outputs for the tokens that it lacked, and of how many links.

        Raises:
            PassedOn: what it lacks has to come from the link before.
            Exception: what the last attempt failed on.
        """
        began: float | None = None
        pause = 0.0
        while True:
            link: _Link | None = None
            try:
                if index == len(self._links) or self._links[index].lost:
                    await self._route(index, block)
                link = self._links[index]
                if self._passes_on(index, history):
                    return await self._catch_up_both(index, history)
                outputs = await self._catch_up(index, history, step_id)
            except PassedOn:
                raise
            except Exception as error:
                if isinstance(error, NextFailed):
                    link = self._links[index + 1]
                if link is not None:
                    link.lost = True
                self._routes.failed(link.span if link else None)
                began = self._clock() if began is None else began
                if self._clock() + pause - began >= self._patience:
                    raise
                logger.warning(
                    "a server failed in the middle of a text",
                    extra={"block": block, "problem": repr(error), "retry_seconds": pause},
                )
                await asyncio.sleep(pause)
                pause = min(2 * pause or _FIRST_PAUSE, _LONGEST_PAUSE)
            else:
                self._routes.succeeded(link.span, outputs.shape[1])
                return outputs, 1

    async def _route(self, index: int, block: int) -> None:
        """Find servers from ``block`` on: for the blocks of the link that was lost there, or for all that follow."""
        lost = self._links[index : index + 1]
        end = lost[0].span.end if lost else self._routes.num_blocks
        spans = await self._routes.find(block, end, self._max_length)
        self._links[index : index + 1] = [
            _Link(span, self._routes.open(span, self._max_length)) for span in spans
        ]
        self._leave(lost)

    async def _catch_up(self, index: int, history: History, step_id: str) -> torch.Tensor:
        link = self._links[index]
        followers = self._followers(index)
        pushed = 0 < index <= self._pushed_to
        self._pushed_to = max(self._pushed_to, index + len(followers))
        lacking = history.since(link.position)
        parts = [lacking] if lacking.shape[1] <= MESSAGE_TOKENS else lacking.split(MESSAGE_TOKENS, dim=1)
        outputs = []
        for number, part in enumerate(parts):
            name = step_id if len(parts) == 1 else f"{step_id}.{number}"
            outputs.append(await link.stream.exchange(part, name, followers, pushed=pushed))
            link.position += part.shape[1]
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=1)

    def _passes_on(self, index: int, history: History) -> bool:
        """Tell whether this link's server shall pass on to the one behind, which lacks the same few tokens.

        One that shall push to several behind it does that: it spares more ways.
        """
        if index + 1 >= len(self._links) or 0 < index <= self._pushed_to:
            return False
        link, following = self._links[index : index + 2]
        return (
            not following.lost
            and link.position == following.position == self.position
            and len(self._followers(index)) < 2
            and link.stream.passes_on(following.stream, history.length - self.position)
            and self._routes.passing_on_pays(link.span, following.span)
        )

    async def _catch_up_both(self, index: int, history: History) -> tuple[torch.Tensor, int]:
        first, following = self._links[index : index + 2]
        heard = await first.stream.exchange_onward(history.since(first.position), following.stream)
        caught_up = [first, following] if heard.passed_on else [first]
        for link in caught_up:
            link.position = history.length
            self._routes.succeeded(link.span, heard.outputs.shape[1])
        return heard.outputs, len(caught_up)

    def _followers(self, index: int) -> list[Address]:
        """Return the servers that a server may push its outputs to: those that lack the same tokens as it does.

        One that takes over from another returns more than they lack, and a new one is not there yet.
        """
        followers = []
        if 0 < self._links[index].position == self.position:
            for link, following in pairwise(self._links[index:]):
                up_to_date = not following.lost and following.position == self.position
                if not up_to_date or not self._routes.pushing_pays(link.span, following.span):
                    break
                followers.append(following.stream.address)
        return followers

    def _start_over(self) -> None:
        """After a step that failed half-way, let new servers hear the whole text with the next step.

        Some servers have the step's tokens, some lack tokens whose inputs were on their way: only what went into
        the first block is known for sure.
        """
        links, self._links = self._links, []
        self._leave(links)
        self._histories = {0: self._histories[0]}
        self._histories[0].truncate(self.position)

    def _leave(self, links: Sequence[_Link]) -> None:
        for link in links:
            task = asyncio.get_running_loop().create_task(link.stream.close())
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)


def _go_back(link: _Link, position: int) -> None:
    if link.position > position:
        if link.stream.goes_back:
            link.stream.go_back(position)
        else:
            link.lost = True
        link.position = position
