"""Threads that compute together have cores of their own."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from services.swarm.kernels import team
from services.swarm.kernels.team import bind_team, cores
from services.swarm.serving.cores import Cores

HERE = os.sched_getaffinity(0)


@pytest.fixture
def elsewhere() -> Iterator[ThreadPoolExecutor]:
    """A thread with a team of its own, for a thread that is bound stays so."""
    with ThreadPoolExecutor(1) as thread:
        yield thread


def masks() -> list[set[int]]:
    """Return the processors of each thread of this process."""
    return [os.sched_getaffinity(int(thread)) for thread in os.listdir("/proc/self/task")]


@pytest.mark.skipif(len(HERE) < 2, reason="with one processor nothing can be bound")
def test_each_thread_of_a_team_has_its_core(elsewhere: ThreadPoolExecutor) -> None:
    first, second = sorted(HERE)[:2]

    def work() -> None:
        bind_team([(first,), (second,)])
        torch.ones(1 << 20).add(1)
        assert os.sched_getaffinity(0) == {first}
        assert {second} in masks()

    elsewhere.submit(work).result()


def test_a_core_that_is_forbidden_binds_nobody(elsewhere: ThreadPoolExecutor) -> None:
    elsewhere.submit(bind_team, [(1000,)]).result()

    assert elsewhere.submit(os.sched_getaffinity, 0).result() == HERE


def test_the_processors_of_a_core_are_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for cpu, siblings in enumerate(("0,2", "1,3", "0,2", "1,3", "4-5", "4-5")):
        (tmp_path / str(cpu)).write_text(f"{siblings}\n")
    monkeypatch.setattr(team, "_SIBLINGS", f"{tmp_path}/{{}}")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 4, 5})

    assert cores() == [(0, 2), (1,), (4, 5)]


def test_where_nobody_knows_the_cores_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(team, "_SIBLINGS", "/nowhere/{}")

    assert cores() == []


@pytest.mark.parametrize(
    ("known", "threads", "expected"),
    [
        ([(0, 2), (1, 3)], 2, [[(0, 2), (1, 3)], [(0, 2)]]),
        ([(0, 2), (1, 3)], 4, []),  # two servers that compute with fewer threads would meet on the same cores
        ([(0, 2), (1, 3), (4,)], 3, []),
        ([], 2, []),
    ],
)
def test_a_tick_binds_its_threads_where_each_can_have_a_core_like_the_others(
    monkeypatch: pytest.MonkeyPatch,
    known: list[tuple[int, ...]],
    threads: int,
    expected: list[list[tuple[int, ...]]],
) -> None:
    asked: list[list[tuple[int, ...]]] = []
    monkeypatch.setattr("services.swarm.serving.cores.cores", lambda: known)
    monkeypatch.setattr("services.swarm.serving.cores.bind_team", lambda own: asked.append(list(own)))
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    chooser = Cores(torch.device("cpu"))
    chooser.suit({"a": 1, "b": 1})
    chooser.suit({"a": 1, "b": 1})
    chooser.suit({"a": 1})

    assert asked == expected
