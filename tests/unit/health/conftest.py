"""The pieces that most tests of the exporter start from."""

from pathlib import Path

import pytest

from services.health.collector import Collector
from services.health.history import History
from tests.unit.health.swarm_fakes import Clock, FakeDirectory


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def directory() -> FakeDirectory:
    return FakeDirectory()


@pytest.fixture
def history() -> History:
    return History(Path(":memory:"))


@pytest.fixture
def collector(directory: FakeDirectory, history: History, clock: Clock) -> Collector:
    return Collector(directory.connect, 10.0, history, clock=clock)
