"""A text's way through servers that pass its steps on to each other: nobody lacks a token, whatever fails."""

import pytest
import torch

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
