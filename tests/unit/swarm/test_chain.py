"""A text's way through servers that fail: what each is sent, and that the outputs are those of the whole model."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
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
        assert hidden.shape[1] <= MESSAGE_TOKENS
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
            return Heard(self._run(hidden), None)
        try:
            await self.swarm.before_exchange(following.span.server)
        except ConnectionError as error:
            raise NextFailed from error
        passed_on = self._run(hidden)
        return Heard(following._run(passed_on), passed_on)

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


async def test_every_server_hears_each_token_once() -> None:
    swarm = FakeSwarm(a=(0, 2), b=(1, 4))
    await speak(chain(swarm), 5, 1, 1)
    assert swarm.lengths("a") == swarm.lengths("b") == [[5, 1, 1]]
    assert swarm.answered == {"a": 7, "b": 7}
    assert swarm.streams[1].span == FakeSpan("b", 2, 4)
    assert swarm.streams[0].steps == swarm.streams[1].steps
    assert len(set(swarm.streams[0].steps)) == 3


async def test_servers_push_to_those_behind_them_once_all_have_begun() -> None:
    swarm = FakeSwarm(a=(0, 1), b=(1, 2), c=(2, 4))
    await speak(chain(swarm), 5, 1)
    assert [stream.followers for stream in swarm.streams] == [[[], ["b", "c"]], [[], ["c"]], [[], []]]
    assert [stream.pushed for stream in swarm.streams] == [[False, False], [False, True], [False, True]]


async def test_nobody_pushes_to_where_the_way_by_the_client_is_as_short() -> None:
    swarm = FakeSwarm(a=(0, 1), b=(1, 2), c=(2, 3), d=(3, 4))
    swarm.near = {"a"}
    await speak(chain(swarm), 5, 1)
    assert [stream.followers[1] for stream in swarm.streams] == [[], ["c", "d"], ["d"], []]
    assert [stream.pushed[1] for stream in swarm.streams] == [False, False, True, True]


@pytest.mark.parametrize("lost", ["a", "b", "c"])
@pytest.mark.parametrize("at", [0, 1, 3])
async def test_a_server_takes_over_and_those_behind_it_notice_nothing(lost: str, at: int) -> None:
    servers = {"a": (0, 1), "b": (1, 2), "c": (2, 4)}
    swarm = FakeSwarm(**servers, spare=servers[lost])
    swarm.failures[lost] = [step == at for step in range(4)]
    one = chain(swarm)
    await speak(one, 5, 1, 1, 1)
    await one.close()
    heard = sum([5, 1, 1][:at]) + [5, 1, 1, 1][at]
    assert sum(swarm.lengths("spare")[0]) == 8
    assert swarm.answered["spare"] == 8, "what was answered is counted, by whoever answered"
    assert swarm.lengths("spare")[0][0] == heard
    assert all(swarm.lengths(other) == [[5, 1, 1, 1]] for other in servers if other != lost)
    assert all(stream.closed for stream in swarm.streams)
    (spare,) = [stream for stream in swarm.streams if stream.span.server == "spare"]
    assert spare.followers[0] == [], "what it says first is more than the others lack"


async def test_servers_pass_on_in_pairs_and_each_token_is_heard_once() -> None:
    swarm = FakeSwarm(a=(0, 1), b=(1, 2), c=(2, 3), d=(3, 4))
    swarm.passing_on, swarm.pushing = {"a", "b", "c", "d"}, False
    await speak(chain(swarm), 5, 1, 2, 3, 1)
    assert swarm.passed_on == 2 * 3, "steps of one and two tokens, between two pairs"
    assert all(swarm.lengths(server) == [[5, 1, 2, 3, 1]] for server in "abcd")
    assert swarm.answered == dict.fromkeys("abcd", 12)


async def test_nobody_passes_on_to_where_the_way_by_the_client_is_as_short() -> None:
    swarm = FakeSwarm(a=(0, 1), b=(1, 2), c=(2, 4))
    swarm.passing_on, swarm.near, swarm.pushing = {"a", "b"}, {"a"}, False
    await speak(chain(swarm), 5, 1)
    assert swarm.passed_on == 1
    assert [stream.followers[1:] for stream in swarm.streams] == [[[]], [], []]


async def test_a_server_pushes_to_several_behind_it_instead() -> None:
    swarm = FakeSwarm(a=(0, 1), b=(1, 2), c=(2, 4))
    swarm.passing_on = {"a", "b"}
    await speak(chain(swarm), 5, 1)
    assert swarm.passed_on == 0
    assert [stream.pushed[1] for stream in swarm.streams] == [False, True, True]


async def test_a_server_that_does_not_pass_on_answers_itself() -> None:
    swarm = FakeSwarm(a=(0, 2), b=(2, 4))
    swarm.passing_on = swarm.answering_themselves = {"a"}
    await speak(chain(swarm), 5, 1, 1)
    assert swarm.lengths("a") == swarm.lengths("b") == [[5, 1, 1]]


@pytest.mark.parametrize("lost", ["a", "b"])
@pytest.mark.parametrize("at", [1, 3])
async def test_a_server_takes_over_where_steps_are_passed_on(lost: str, at: int) -> None:
    servers = {"a": (0, 2), "b": (2, 4)}
    swarm = FakeSwarm(**servers, spare=servers[lost])
    swarm.passing_on = {"a", "b", "spare"}
    swarm.failures[lost] = [step == at for step in range(5)]
    one = chain(swarm)
    await speak(one, 5, 1, 1, 1, 1)
    await one.close()
    (other,) = set(servers) - {lost}
    assert swarm.lengths(other) == [[5, 1, 1, 1, 1]]
    assert swarm.lengths("spare")[0][0] == 5 + at
    assert swarm.answered["spare"] == 9
    assert all(stream.closed for stream in swarm.streams)


async def test_a_text_goes_back_where_steps_are_passed_on() -> None:
    swarm = FakeSwarm(a=(0, 2), b=(2, 4))
    swarm.passing_on = {"a"}
    one = chain(swarm)
    await speak(one, 5)
    await one.step(torch.zeros(1, 2, 2))
    one.go_back(5)
    await speak(one, 1, 1)
    assert swarm.passed_on == 3


async def test_it_knows_who_answers_now() -> None:
    swarm = FakeSwarm(a=(0, 2), b=(2, 4), spare=(0, 3))
    swarm.failures["a"] = [False, True]
    one = chain(swarm)
    assert one.spans == []
    await speak(one, 5)
    assert one.spans == [FakeSpan("a", 0, 2), FakeSpan("b", 2, 4)]
    await speak(one, 1)
    assert one.spans == [FakeSpan("spare", 0, 2), FakeSpan("b", 2, 4)]
    await one.close()
    assert one.spans == []


async def test_two_servers_take_the_place_of_one_and_hear_a_long_text_in_parts() -> None:
    swarm = FakeSwarm(first=(0, 1), whole=(1, 4), left=(1, 3), right=(3, 4))
    swarm.failures["whole"] = [False] * 3 + [True]
    await speak(chain(swarm), 512, 512, 200, 1, 1)
    assert swarm.lengths("left") == swarm.lengths("right") == [[512, 512, 201, 1]]
    assert swarm.lengths("first") == [[512, 512, 200, 1, 1]]


async def test_successors_fail_too() -> None:
    swarm = FakeSwarm(a=(0, 2), b=(2, 4), a2=(0, 1), a3=(1, 2), a4=(0, 2))
    swarm.failures = {"a": [False, True], "a2": [False, True], "a3": [True], "b": [False, False, True]}
    one = chain(swarm)
    await speak(one, 9, 1, 1, 1)
    assert [stream.span.server for stream in swarm.streams][:4] == ["a", "b", "a2", "a3"]
    await one.close()
    assert all(stream.closed for stream in swarm.streams)


async def test_when_patience_ends_the_text_is_where_it_was_and_the_step_can_be_tried_again() -> None:
    swarm = FakeSwarm(a=(0, 2), b=(2, 4))
    one = chain(swarm, patience=0.0)
    await speak(one, 5, 1)
    swarm.failures["b"] = [True]
    with pytest.raises(ConnectionError, match="b"):
        await one.step(TEXT[:, 6:7])
    assert one.position == 6
    await speak(one, 1, 2)
    assert swarm.lengths("a") == [[5, 1, 1], [7, 2]]
    assert swarm.lengths("b") == [[5, 1], [7, 2]]


async def test_nobody_has_the_blocks() -> None:
    swarm = FakeSwarm(a=(0, 2))
    with pytest.raises(LookupError, match="block 2"):
        await chain(swarm, patience=0.0).step(TEXT[:, :3])
    assert swarm.streams == []


async def test_a_cancelled_step_frees_its_servers_and_changes_nothing() -> None:
    swarm = FakeSwarm(a=(0, 4))
    one = chain(swarm)
    await speak(one, 5)
    swarm.gate = asyncio.Event()
    step = asyncio.create_task(one.step(TEXT[:, 5:6]))
    await asyncio.sleep(0)
    step.cancel()
    await asyncio.wait([step])
    await one.close()
    assert swarm.streams[0].closed
    swarm.gate = None
    await speak(one, 1)
    assert swarm.lengths("a") == [[5], [6]]


@pytest.mark.parametrize("stock", [set(), {"a"}, {"b"}, {"a", "b"}])
@pytest.mark.parametrize("position", [0, 4, 5])
async def test_a_text_goes_back(stock: set[str], position: int) -> None:
    swarm = FakeSwarm(a=(0, 2), b=(2, 4))
    swarm.stock = stock
    one = chain(swarm)
    assert not one.goes_back
    await speak(one, 5)
    assert one.goes_back == (not stock)
    await one.step(torch.zeros(1, 3, 2))  # what is said instead of the text
    one.go_back(position)
    await speak(one, 1, 2)
    sessions = [stream for stream in swarm.streams if stream.span.server == "a"]
    assert len(sessions) == (2 if "a" in stock else 1)
    await one.close()
    assert all(stream.closed for stream in swarm.streams)
