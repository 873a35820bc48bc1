"""A text's way through servers that pass its steps on to each other: nobody lacks a token, whatever fails."""

import asyncio

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.swarm.fake_swarm import FakeSwarm, chain, speak


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
    again = [at] if (lost, at) == ("b", 3) else [1] * at
    assert swarm.lengths(other) == [[5, *again, *[1] * (4 - at)]], (
        "the first goes back to what it had passed on"
    )
    assert swarm.lengths("spare")[0][0] == 5 + at
    assert swarm.answered["spare"] == 9
    assert all(stream.closed for stream in swarm.streams)


async def test_what_was_passed_on_is_computed_again_in_messages_of_a_bearable_size() -> None:
    swarm = FakeSwarm(a=(0, 2), b=(2, 4), spare=(2, 4))
    swarm.passing_on = {"a", "b"}
    one = chain(swarm)
    await speak(one, 5, *[2] * 300)
    swarm.failures["b"] = [True]
    await speak(one, 1)
    assert swarm.lengths("a") == [[5, 512, 89]]
    assert swarm.lengths("spare") == [[512, 94]]


async def test_all_servers_of_a_row_may_be_lost_one_after_the_other() -> None:
    servers = {"a": (0, 1), "b": (1, 2), "c": (2, 3), "d": (3, 4)}
    swarm = FakeSwarm(**servers, **{f"{name}2": span for name, span in servers.items()})
    swarm.passing_on, swarm.pushing = set(swarm.servers), False
    one = chain(swarm)
    await speak(one, 5, 1, 1)
    for lost in "dbca":
        swarm.failures[lost] = [True]
        await speak(one, 1, 2)
    assert [span.server for span in one.spans] == ["a2", "b2", "c2", "d2"]


async def test_a_step_that_cannot_be_passed_on_goes_by_the_client_in_between() -> None:
    swarm = FakeSwarm(a=(0, 2), b=(2, 4))
    swarm.passing_on = {"a"}
    await speak(chain(swarm), 5, 1, 1, 3, 1)
    assert swarm.passed_on == 3
    assert swarm.lengths("a") == swarm.lengths("b") == [[5, 1, 1, 3, 1]]


async def test_a_text_that_went_back_before_what_was_passed_on_lacks_nothing() -> None:
    swarm = FakeSwarm(a=(0, 2), b=(2, 4), spare=(2, 4))
    swarm.passing_on = {"a"}
    one = chain(swarm)
    await speak(one, 5, 1, 1, 1)
    one.go_back(7)
    swarm.failures["b"] = [True]
    await speak(one, 1, 1)
    assert swarm.lengths("spare") == [[8, 1]]


async def test_a_text_goes_back_where_steps_are_passed_on() -> None:
    swarm = FakeSwarm(a=(0, 2), b=(2, 4))
    swarm.passing_on = {"a"}
    one = chain(swarm)
    await speak(one, 5)
    await one.step(torch.zeros(1, 2, 2))
    one.go_back(5)
    await speak(one, 1, 1)
    assert swarm.passed_on == 3


MOVES = st.one_of(
    st.integers(1, 3),  # so many tokens, of which up to two are passed on
    st.sampled_from("abcd"),  # a server fails with what it hears next
    st.floats(0, 1),  # back to this part of the text
)


@settings(deadline=None)
@given(st.lists(MOVES, max_size=25), st.sets(st.sampled_from("abcd")), st.booleans())
def test_whatever_is_lost_and_forgotten_each_token_comes_out_right(
    moves: list[int | str | float], passing_on: set[str], pushing: bool
) -> None:
    async def talk() -> None:
        servers = {"a": (0, 1), "b": (1, 2), "c": (2, 3), "d": (3, 4)}
        swarm = FakeSwarm(**servers, **{f"{name}2": span for name, span in servers.items()})
        swarm.passing_on = passing_on | {f"{name}2" for name in passing_on}
        swarm.pushing = pushing
        one = chain(swarm)
        await speak(one, 4)
        for move in moves:
            if isinstance(move, str):
                swarm.failures.update({move: [True]})
            elif isinstance(move, int):
                await speak(one, move)
            else:
                one.go_back(int(move * one.position))
        await speak(one, 1, 2)

    asyncio.run(talk())
