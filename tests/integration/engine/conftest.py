"""One bootstrap peer and one folder of tiny models for all tests of the engine's processes."""

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.swarm_processes import Swarm
from tests.unit.swarm.tiny_models import CONFIGS, save_tiny_model


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``tiny/<variant>-sharded`` and ``tiny/<variant>-single`` of every architecture."""
    folder = tmp_path_factory.mktemp("models")
    for variant in CONFIGS:
        save_tiny_model(folder / "tiny" / f"{variant}-sharded", variant)
        save_tiny_model(folder / "tiny" / f"{variant}-single", variant, max_shard_size="1GB")
    return folder


@pytest.fixture
def swarm(models: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Swarm]:
    """A swarm of its own for each test; the logs of all its processes are shown if the test fails."""
    with Swarm(tmp_path, models) as running:
        yield running
        print(running.logs())


@pytest.fixture(scope="session", autouse=True)
def _no_process_left_behind() -> Iterator[None]:
    yield
    assert psutil.Process().children(recursive=True) == []
