"""Servers for a chain that compute real outputs, fail on demand and note what each has heard."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from services.swarm.client.chain import MESSAGE_TOKENS, Chain
from services.swarm.client.company import Company
from services.swarm.client.onward import Heard, NextFailed
from services.swarm.client.roles import Address

BLOCKS = 4


@dataclass(frozen=True)
class FakeSpan:
    server: str
    start: int
    end: int


def block(index: int, hidden: torch.Tensor) -> torch.Tensor:
    """Depends on all tokens before, as attention does; numbers stay whole, so that results can be equal."""
    return (hidden.cumsum(dim=1) + index) % 97


def whole_model(text: torch.Tensor) -> torch.Tensor:
    for index in range(BLOCKS):
        text = block(index, text)
    return text


@dataclass
class FakeStream:
    """A server's session that computes real outputs from the tokens it was sent."""

    swarm: "FakeSwarm"
    span: FakeSpan
    max_length: int
    received: list[torch.Tensor] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    followers: list[list[str]] = field(default_factory=list)
    pushed: list[bool] = field(default_factory=list)
    closed: bool = False

    @property
    def address(self) -> Address:
        return self.span.server, "session", self.span.start, self.span.end

    @property
    def goes_back(self) -> bool:
        return self.span.server not in self.swarm.stock

    def go_back(self, position: int) -> None:
        assert self.goes_back
        self.received = [torch.cat(self.received, dim=1)[:, :position]]

    async def exchange(
        self, hidden: torch.Tensor, step_id: str, followers: Sequence[Address], *, pushed: bool
    ) -> torch.Tensor:
        assert not self.closed
        assert 0 < hidden.shape[1] <= MESSAGE_TOKENS
        assert step_id not in self.steps
        await self.swarm.before_exchange(self.span.server)
        self.steps.append(step_id)
        self.followers.append([server for server, *_ in followers])
        self.pushed.append(pushed)
        return self._run(hidden)

    def _run(self, hidden: torch.Tensor) -> torch.Tensor:
        self.received.append(hidden)
        text = torch.cat(self.received, dim=1)
        assert text.shape[1] <= self.max_length
        for index in range(self.span.start, self.span.end):
            text = block(index, text)
        return text[:, -hidden.shape[1] :]

    def passes_on(self, following: "FakeStream", tokens: int) -> bool:
        return self.span.server in self.swarm.passing_on and tokens <= 2

    async def exchange_onward(self, hidden: torch.Tensor, following: "FakeStream") -> Heard:
        assert not self.closed
        assert not following.closed
        await self.swarm.before_exchange(self.span.server)
        self.swarm.passed_on += 1
        if self.span.server in self.swarm.answering_themselves:
            return Heard(self._run(hidden), passed_on=False)
        try:
            await self.swarm.before_exchange(following.span.server)
        except ConnectionError as error:
            raise NextFailed from error
        return Heard(following._run(self._run(hidden)), passed_on=True)

    async def close(self) -> None:
        self.closed = True


class FakeSwarm:
    """Servers by name, the earlier the better; one that failed comes last.

    ``failures`` holds, for each exchange with a server from now on, whether it fails.
    """

    num_blocks = BLOCKS

    def __init__(self, **servers: tuple[int, int]) -> None:
        self.servers = {name: FakeSpan(name, *span) for name, span in servers.items()}
        self.streams: list[FakeStream] = []
        self.failures: dict[str, list[bool]] = {}
        self.gate: asyncio.Event | None = None
        self.stock: set[str] = set()
        self.near: set[str] = set()
        self.pushing = True
        self.passing_on: set[str] = set()
        self.answering_themselves: set[str] = set()
        self.passed_on = 0
        self.answered: Counter[str] = Counter()
        self.company = Company()

    async def before_exchange(self, server: str) -> None:
        if self.gate is not None:
            await self.gate.wait()
        if (failures := self.failures.get(server)) and failures.pop(0):
            raise ConnectionError(server)

    def pushing_pays(self, span: FakeSpan, following: FakeSpan) -> bool:
        return self.pushing and self.passing_on_pays(span, following)

    def passing_on_pays(self, span: FakeSpan, following: FakeSpan) -> bool:
        return span.server not in self.near and following.server not in self.near

    async def find(self, start: int, end: int, max_length: int) -> list[FakeSpan]:
        found: list[FakeSpan] = []
        while start < end:
            fitting = (span for span in self.servers.values() if span.start <= start < span.end)
            if (best := next(fitting, None)) is None:
                raise LookupError(f"nobody has block {start}")
            found.append(FakeSpan(best.server, start, min(best.end, end)))
            start = found[-1].end
        return found

    def open(self, span: FakeSpan, max_length: int) -> FakeStream:
        self.streams.append(FakeStream(self, span, max_length))
        return self.streams[-1]

    def succeeded(self, span: FakeSpan, tokens: int) -> None:
        assert span.server in self.servers
        self.answered[span.server] += tokens

    def failed(self, span: FakeSpan | None) -> None:
        if span is not None:
            self.servers[span.server] = self.servers.pop(span.server)

    def lengths(self, server: str) -> list[list[int]]:
        """For each session of a server, how many tokens its messages had."""
        return [
            [part.shape[1] for part in stream.received]
            for stream in self.streams
            if stream.span.server == server
        ]


TEXT = torch.randint(0, 97, (1, 1400, 2), generator=torch.Generator().manual_seed(0)).float()
WHOLE = whole_model(TEXT)


def chain(swarm: FakeSwarm, patience: float = 60.0) -> Chain:
    """Time stands still for it but for one second at each look."""
    seconds = itertools.count()
    return Chain(swarm, TEXT.shape[1], patience, lambda: float(next(seconds)))


async def speak(one: Chain, *lengths: int) -> None:
    """Send the next tokens of the text in steps of these lengths, and check what comes out."""
    for length in lengths:
        begin = one.position
        outputs = await one.step(TEXT[:, begin : begin + length])
        assert outputs.equal(WHOLE[:, begin : begin + length])
        assert one.position == begin + length
