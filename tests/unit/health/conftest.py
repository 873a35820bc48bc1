"""The pieces that most tests of the exporter start from."""

import pytest

from services.health.collector import Collector
from tests.unit.health.swarm_fakes import Clock, FakeDirectory


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def directory() -> FakeDirectory:
    return FakeDirectory()


@pytest.fixture
def collector(directory: FakeDirectory, clock: Clock) -> Collector:
    return Collector(directory.connect, period=10.0, clock=clock)
