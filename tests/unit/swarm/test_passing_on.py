"""A server passes outputs on to the server behind, which answers; and what comes of it when that fails."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from tenacity import AsyncRetrying, stop_after_delay, wait_fixed

from services.swarm.bundles import Onward
from services.swarm.client.lanes import Lane
from services.swarm.client.onward import Heard, NextFailed
from services.swarm.serving import passing_on
from services.swarm.serving.open_sessions import OPEN
from tests.unit.swarm.bundle_server import BundleServer, Network, opened, tokens

NAMES = ("s", "t", "u")
PATIENCE = 10.0


def there(name: str, peer: str = "second") -> Onward:
    """A text's session at the server behind."""
    return Onward(peer, "handler", f"{name} there")


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.01)


@dataclass
class Chain:
    """Two servers, which add one to each number, and a client's lanes to them."""

    first: BundleServer
    second: BundleServer
    lane: Lane
    following: Lane

    async def step(self, name: str, position: int, hidden: torch.Tensor, peer: str = "second") -> Heard:
        async with asyncio.timeout(PATIENCE):
            return await self.lane.step_onward(name, position, hidden, there(name, peer), self.following)

    async def connect(self) -> None:
        """Step until the first server passes on; the session ``s`` is where it was then."""
        async for attempt in AsyncRetrying(stop=stop_after_delay(PATIENCE), wait=wait_fixed(0.01)):
            with attempt:
                assert (await self.step("s", 3, tokens(1))).passed_on
        for server in (self.first, self.second):
            server.pool.asked.clear()


@pytest.fixture
async def chain(tmp_path: Path) -> AsyncIterator[Chain]:
    """Each text has a session of three tokens at both servers, and both have answered the client once."""
    first, second = (BundleServer(tmp_path, name) for name in ("first", "second"))
    first.neighbours["second"] = second.for_servers
    for number, name in enumerate(NAMES):
        opened(name, number, position=2)
        opened(f"{name} there", 10 + number, position=2)
    async with first.lane(PATIENCE) as lane, second.lane(PATIENCE) as following:
        for name in NAMES:
            await lane.step(name, 2, tokens(1))
            await following.step(f"{name} there", 2, tokens(1))
        yield Chain(first, second, lane, following)


async def test_the_server_behind_answers(chain: Chain) -> None:
    await chain.connect()
    heard = await asyncio.gather(
        *(chain.step(name, 3, tokens(count, value=count)) for count, name in enumerate(NAMES, 1))
    )

    for count, one in enumerate(heard, 1):
        assert one.passed_on
        assert one.outputs.equal(tokens(count, count + 2))
    assert [len(bundle.parts) for bundle in chain.first.pool.asked] == [3]
    assert [bundle.parts for bundle in chain.second.pool.asked] == [((10, 3, 1), (11, 3, 2), (12, 3, 3))]
    assert [OPEN[f"{name} there"].position for name in NAMES] == [4, 5, 6]
    assert chain.lane._awaited == chain.following._awaited == {}


async def test_the_first_server_answers_until_it_has_connected(chain: Chain) -> None:
    heard = await chain.step("s", 3, tokens(1))

    assert not heard.passed_on
    assert heard.outputs.equal(tokens(1, 1))


@pytest.mark.parametrize("peer", ["nobody knows", "nobody listens"])
async def test_a_server_that_cannot_be_reached_is_not_passed_on_to(
    chain: Chain, peer: str, tmp_path: Path
) -> None:
    chain.first.neighbours["nobody listens"] = Network(tmp_path / "nowhere")
    for position in range(3, 6):
        heard = await chain.step("s", position, tokens(1), peer)
        assert not heard.passed_on
    assert chain.first.neighbours["nobody listens"].connected == (peer == "nobody listens"), (
        "it is not tried again"
    )


async def test_each_text_goes_its_own_way(chain: Chain) -> None:
    await chain.connect()
    passed, alone, elsewhere = await asyncio.gather(
        chain.step("s", 3, tokens(1)),
        chain.lane.step("t", 3, tokens(2)),
        chain.step("u", 3, tokens(1), "else"),
    )

    assert passed.outputs.equal(tokens(1, 2))
    assert alone.equal(tokens(2, 1))
    assert elsewhere.outputs.equal(tokens(1, 1))
    assert not elsewhere.passed_on


async def test_texts_of_several_kinds_run_in_batches_of_their_own(chain: Chain) -> None:
    await chain.connect()
    OPEN["t there"].adapter = "another"
    heard = await asyncio.gather(*(chain.step(name, 3, tokens(1)) for name in NAMES))

    assert all(one.outputs.equal(tokens(1, 2)) for one in heard)
    assert sorted(len(bundle.parts) for bundle in chain.second.pool.asked) == [1, 2]


async def test_what_the_server_behind_refuses_comes_back_from_the_first(chain: Chain) -> None:
    await chain.connect()
    OPEN["t there"].client = None
    del OPEN["u there"]
    passed, *refused = await asyncio.gather(*(chain.step(name, 3, tokens(1)) for name in NAMES))

    assert passed.passed_on
    for one in refused:
        assert not one.passed_on
        assert one.outputs.equal(tokens(1, 1))


async def test_a_problem_of_the_server_behind_is_said_to_be_its_own(chain: Chain) -> None:
    await chain.connect()
    chain.second.pool.broken = {11}
    fine, problem = await asyncio.gather(
        chain.step("s", 3, tokens(1)), chain.step("t", 3, tokens(1)), return_exceptions=True
    )

    assert isinstance(fine, Heard)
    assert isinstance(problem, NextFailed)
    assert "broken" in str(problem)


async def test_a_problem_of_the_first_server_is_not(chain: Chain) -> None:
    await chain.connect()
    chain.first.pool.broken = {0}

    with pytest.raises(RuntimeError, match="broken"):
        await chain.step("s", 3, tokens(1))


@pytest.mark.parametrize(("lost", "problem"), [("first", ConnectionError), ("second", NextFailed)])
async def test_a_lost_server_is_told_from_the_other(
    chain: Chain, lost: str, problem: type[Exception]
) -> None:
    await chain.connect()
    chain.second.pool.gate.clear()
    step = asyncio.create_task(chain.step("s", 3, tokens(1)))
    await until(lambda: bool(chain.second.pool.asked))
    lane = chain.lane if lost == "first" else chain.following
    assert lane._writer is not None
    lane._writer.close()

    with pytest.raises(problem, match="is lost"):
        await step


async def test_when_the_way_between_is_lost_the_first_server_answers_after_all(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passing_on, "_LOOK_SECONDS", 0.01)
    await chain.connect()
    chain.second.pool.gate.clear()
    step = asyncio.create_task(chain.step("s", 3, tokens(1)))
    await until(lambda: bool(chain.second.pool.asked))
    chain.second.for_servers.lost = True

    heard = await step
    assert not heard.passed_on
    assert heard.outputs.equal(tokens(1, 1))


async def test_a_way_that_nobody_uses_is_closed_and_opened_again(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passing_on, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(passing_on, "_UNUSED_SECONDS", 0.05)
    monkeypatch.setattr(passing_on, "_RETRY_SECONDS", 0.0)
    await chain.connect()
    await until(lambda: not chain.first.passing_on._streams)

    await chain.connect()
    assert chain.second.for_servers.connected == 2


async def test_a_client_makes_a_server_open_so_many_streams_and_no_more(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passing_on, "_MOST_STREAMS", 2)
    for number in range(4):
        assert not (await chain.step("s", 3 + number, tokens(1), f"peer {number}")).passed_on

    assert len(chain.first.passing_on._streams) == 2


async def test_outputs_that_nobody_needs_any_more_are_forgotten(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passing_on, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(passing_on, "_KEPT_SECONDS", 0.05)
    await chain.connect()
    (stream,) = chain.first.passing_on._streams.values()
    assert len(stream._kept) == 1

    await until(lambda: not stream._kept)


async def test_a_problem_of_one_text_leaves_the_others_with_their_own_numbers(chain: Chain) -> None:
    await chain.connect()
    chain.second.pool.broken = {11}
    first, problem, last = await asyncio.gather(
        *(chain.step(name, 3, tokens(count, value=count)) for count, name in enumerate(NAMES, 1)),
        return_exceptions=True,
    )

    assert isinstance(problem, NextFailed)
    for count, heard in ((1, first), (3, last)):
        assert isinstance(heard, Heard)
        assert heard.passed_on
        assert heard.outputs.equal(tokens(count, count + 2))


async def test_an_output_that_comes_after_all_is_not_taken_for_one_of_a_later_step(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passing_on, "_LOOK_SECONDS", 0.01)
    await chain.connect()
    await chain.step("s", 3, tokens(1))
    chain.first.pool.gate.clear()
    again = asyncio.create_task(chain.step("s", 3, tokens(1, value=7)))
    await until(lambda: len(chain.first.pool.asked) == 2)
    (stream,) = chain.first.passing_on._streams.values()
    chain.second.for_servers.lost = True
    await until(lambda: not stream._kept)
    chain.first.pool.gate.set()

    assert (await again).outputs.equal(tokens(1, 8))
