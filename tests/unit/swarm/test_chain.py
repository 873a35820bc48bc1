"""A text's way through servers that fail: what each is sent, and that the outputs are those of the whole model."""

import asyncio

import pytest
import torch

from tests.unit.swarm.fake_swarm import TEXT, FakeSpan, FakeSwarm, chain, speak


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
