"""The loop keeps what it knows, says how old that is, and comes back when the swarm does."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from services.common.errors import Unavailable
from services.health.collector import Collector
from tests.unit.health.swarm_fakes import SILENT, Clock, FakeDirectory, model, server


class Waits:
    """Records how long the loop wants to sleep, and ends the loop after ``limit`` sleeps."""

    def __init__(self, limit: int, meanwhile: Callable[[int], None] = lambda _: None) -> None:
        self.seconds: list[float] = []
        self._limit = limit
        self._meanwhile = meanwhile

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)
        self._meanwhile(len(self.seconds))
        if len(self.seconds) == self._limit:
            raise asyncio.CancelledError


async def ended(running: Awaitable[None]) -> None:
    with pytest.raises(asyncio.CancelledError):
        await running


def test_starts_unhealthy(collector):
    assert collector.verdict() == (False, "not checked yet")
    assert collector.knowledge.age(0.0) is None


async def test_a_look_replaces_what_is_known(collector, directory, clock):
    directory.records = [model(server())]
    await collector.update()
    first = collector.knowledge
    assert first.snapshot.models[0].healthy
    assert first.snapshot.taken_at == clock.now
    assert first.error is None

    directory.records = []
    await collector.update()
    assert collector.knowledge.snapshot.models == ()
    assert first.snapshot.models[0].healthy, "a reader's copy never changes under it"
    assert directory.connections == 1, "the connection is kept while it answers"


async def test_keeps_the_last_good_snapshot_when_the_swarm_falls_silent(collector, directory, clock):
    directory.records = [model(server())]
    await collector.update()
    directory.failure = SILENT
    clock.now += 20.0
    with pytest.raises(Unavailable):
        await collector.update()
    knowledge = collector.knowledge
    assert knowledge.snapshot.models[0].healthy
    assert knowledge.age(clock.now) == 20.0
    assert knowledge.error == str(SILENT)
    assert knowledge.errors == 1
    assert not directory.open, "a connection that failed is closed"


async def test_is_healthy_until_the_snapshot_is_several_periods_old(collector, directory, clock):
    await collector.update()
    clock.now += 50.0
    assert collector.verdict() == (True, "last saw the swarm 50 s ago")
    clock.now += 1.0
    assert collector.verdict() == (False, "last saw the swarm 51 s ago, limit 50 s")
    directory.failure = SILENT
    with pytest.raises(Unavailable):
        await collector.update()
    assert collector.verdict() == (False, f"last saw the swarm 51 s ago, limit 50 s: {SILENT}")


async def test_a_clock_that_is_set_back_gives_no_negative_age(collector, clock):
    await collector.update()
    clock.now -= 3600.0
    assert collector.knowledge.age(clock.now) == 0.0


async def test_waits_longer_after_each_failure_and_connects_anew(history):
    directory = FakeDirectory([model(server())])
    directory.failure = SILENT

    def come_back(sleeps: int) -> None:
        if sleeps == 7:
            directory.failure = None

    waits = Waits(limit=8, meanwhile=come_back)
    collector = Collector(directory.connect, 10.0, history, clock=Clock(), sleep=waits)
    await ended(collector.run())
    assert waits.seconds == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 10.0]
    assert directory.connections == 8
    assert collector.knowledge.snapshot is not None
    assert collector.knowledge.error is None
    assert collector.knowledge.errors == 7


async def test_looks_once_a_period(history):
    directory = FakeDirectory()
    waits = Waits(limit=3)
    await ended(Collector(directory.connect, 2.5, history, clock=Clock(), sleep=waits).run())
    assert waits.seconds == [2.5, 2.5, 2.5]


async def test_survives_a_peer_that_cannot_be_reached_at_all(history):
    def refuse() -> FakeDirectory:
        raise Unavailable("connecting: no peer", "start the bootstrap peer")

    collector = Collector(refuse, 1.0, history, clock=Clock(), sleep=Waits(limit=2))
    await ended(collector.run())
    assert collector.verdict() == (False, "connecting: no peer — start the bootstrap peer")
    assert collector.knowledge.errors == 2


async def test_survives_errors_that_nobody_expected(directory, history):
    directory.failure = ZeroDivisionError("deep inside\na library" + "x" * 1000)
    collector = Collector(directory.connect, 1.0, history, clock=Clock(), sleep=Waits(limit=1))
    await ended(collector.run())
    error = collector.knowledge.error
    assert error.startswith("ZeroDivisionError: deep inside a library")
    assert len(error) <= 300


async def test_closing_closes_the_directory(collector, directory):
    await collector.update()
    await collector.close()
    assert not directory.open


async def test_closing_before_the_first_look_opens_nothing(collector, directory):
    await collector.close()
    assert directory.connections == 0


async def test_a_directory_that_fails_to_close_does_not_stop_the_next_connection(collector, directory):
    def fail() -> None:
        raise OSError("already gone")

    directory.close = fail
    directory.failure = SILENT
    with pytest.raises(Unavailable):
        await collector.update()
    directory.failure = None
    await collector.update()
    assert directory.connections == 2
