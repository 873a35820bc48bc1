"""Everybody's turn comes, verdicts are told apart, and each problem has a remedy."""

import pytest

from services.health.api.reports import issues
from services.health.reachability import MAX_CALLS, Reachability, remedy
from tests.unit.health.swarm_fakes import model, server


def test_calls_those_first_whose_verdict_is_the_oldest():
    reachability = Reachability()
    peers = [f"peer{number:04}" for number in range(2 * MAX_CALLS + 1)]
    seen = []
    for _ in range(3):
        chosen = reachability.choose(peers)
        assert len(chosen) == MAX_CALLS
        seen += chosen
        reachability.learn(dict.fromkeys(chosen))
    assert set(seen) == set(peers), "after three rounds each was called"


def test_forgets_those_who_are_gone():
    reachability = Reachability()
    reachability.learn({"a": "gone", "b": None})
    reachability.choose(["b"])
    assert reachability.problems == {"b": None}


def test_tells_whether_a_verdict_is_another():
    reachability = Reachability()
    assert not reachability.learn({"a": None})
    assert reachability.learn({"a": "lost"})
    assert not reachability.learn({"a": "lost in other words"})
    assert reachability.learn({"a": None})


@pytest.mark.parametrize(
    ("problem", "part"),
    [
        ("it does not answer within 5 s: a firewall may block its port", "firewall"),
        ("routing: not found", "CALYX_ANNOUNCE_HOST"),
        ("failed to dial: connection refused", "status"),
        ("something that nobody has seen", "doctor"),
    ],
)
def test_each_problem_has_a_remedy(problem, part):
    assert part in remedy(problem)


async def test_who_says_online_and_does_not_answer_is_unreachable(collector, directory):
    directory.records = [model(server(peer_id="a"), server(peer_id="b", state="joining"))]
    directory.problems = {"a": "dial refused", "b": "dial refused"}
    await collector.update()
    (one,) = collector.knowledge.snapshot.models
    assert {each.peer_id: each.state for each in one.servers} == {"a": "unreachable", "b": "joining"}
    assert not one.healthy
    assert directory.called == [["a"]], "only who says online is called"
    assert [issue.peer_id for issue in issues(collector.knowledge)] == ["a"]

    directory.problems = {}
    await collector.update()
    assert collector.knowledge.snapshot.models[0].healthy


async def test_what_was_announced_is_shown_before_calls_end(collector, directory):
    directory.records = [model(server())]
    shown = []
    directory.reach = lambda peers: shown.append(collector.knowledge.snapshot) or dict.fromkeys(peers)
    await collector.update()
    assert shown[0] is not None
