"""What a server that serves is watched for."""

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from services.common.errors import Broken, Unavailable
from services.common.heartbeat import Heartbeat
from services.server.watching import Watch


class FakeServer:
    """Serves as the test says: each look takes the next of ``problems``, the last one again and again."""

    span = range(5, 15)

    def __init__(self, *problems: str | Exception | None, moves: bool = False) -> None:
        self._problems, self._moves = list(problems), moves
        self.looks = 0

    def problem(self) -> str | None:
        now = self._problems[min(self.looks, len(self._problems) - 1)]
        self.looks += 1
        if isinstance(now, Exception):
            raise now
        return now

    def should_move(self) -> bool:
        return self._moves


def watch(
    folder: Path, rounds: int, has_network: Callable[[], bool] = lambda: True, balances: Iterable[float] = ()
) -> Watch:
    """Return a watch that is told to stop after so many looks."""
    left = iter([False] * rounds + [True])
    seconds = iter([*balances, *[1e9] * rounds])
    return Watch(
        Heartbeat(folder / "heartbeat.json"),
        lambda _: next(left),
        has_network,
        lambda: next(seconds),
    )


def test_a_server_that_serves_is_healthy_until_it_is_told_to_stop(tmp_path: Path) -> None:
    server = FakeServer(None)

    watch(tmp_path, 100).follow(server, may_move=True)

    assert server.looks == 100
    assert Heartbeat(tmp_path / "heartbeat.json").read() == (True, "blocks 5:15 are online")


@pytest.mark.parametrize("problem", ["the runtime has ended", Unavailable("the DHT does not answer")])
def test_a_problem_that_stays_ends_it(problem: str | Exception, tmp_path: Path) -> None:
    with pytest.raises(Broken, match=f"serving blocks 5:15: {problem} — the container starts again"):
        watch(tmp_path, 100).follow(FakeServer(problem), may_move=True)

    assert Heartbeat(tmp_path / "heartbeat.json").read() == (False, str(problem))


def test_problems_that_pass_end_nothing(tmp_path: Path) -> None:
    server = FakeServer(*["late"] * 5, None, *["late"] * 5, None)

    watch(tmp_path, 20).follow(server, may_move=True)

    assert server.looks == 20


def test_without_a_network_it_waits(tmp_path: Path) -> None:
    server = FakeServer("block 5 is not announced as online")

    watch(tmp_path, 100, has_network=lambda: False).follow(server, may_move=True)

    assert server.looks == 100
    assert not Heartbeat(tmp_path / "heartbeat.json").read()[0]


def test_when_the_network_is_back_it_has_time_to_recover(tmp_path: Path) -> None:
    server = FakeServer("late")

    with pytest.raises(Broken):
        watch(tmp_path, 100, has_network=lambda: server.looks > 50).follow(server, may_move=True)

    assert server.looks == 56


def test_it_moves_when_the_swarm_needs_other_blocks_more(tmp_path: Path) -> None:
    server = FakeServer(None, moves=True)

    watch(tmp_path, 100, balances=[12]).follow(server, may_move=True)

    assert server.looks == 3


def test_a_server_with_blocks_that_the_user_chose_stays(tmp_path: Path) -> None:
    server = FakeServer(None, moves=True)

    watch(tmp_path, 100, balances=[12]).follow(server, may_move=False)

    assert server.looks == 100


def test_a_server_that_moving_would_not_help_stays(tmp_path: Path) -> None:
    server = FakeServer(None)

    watch(tmp_path, 100, balances=[12, 12]).follow(server, may_move=True)

    assert server.looks == 100
