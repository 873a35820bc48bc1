"""Tiny models of some architectures, and a bootstrap peer for each file of tests."""

import re
from collections.abc import Generator, Iterator
from pathlib import Path

import psutil
import pytest

from tests.integration.engine.reference import VARIANTS
from tests.swarm_processes import Swarm
from tests.unit.swarm.tiny_models import save_tiny_model

_RUNNING = pytest.StashKey[Swarm]()


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``tiny/<variant>-sharded`` and ``tiny/<variant>-single`` of some architectures."""
    folder = tmp_path_factory.mktemp("models")
    for variant in VARIANTS:
        save_tiny_model(folder / "tiny" / f"{variant}-sharded", variant)
        save_tiny_model(folder / "tiny" / f"{variant}-single", variant, max_shard_size="1GB")
    return folder


@pytest.fixture(scope="module")
def swarm(
    request: pytest.FixtureRequest, models: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Swarm]:
    """A bootstrap peer, to which tests add servers and clients."""
    with Swarm(tmp_path_factory.mktemp("swarm"), models) as running:
        request.session.stash[_RUNNING] = running
        yield running


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the processes wrote, whatever it was that failed."""
    report = yield
    if report.failed and (running := item.session.stash.get(_RUNNING, None)) is not None:
        report.sections.append(("Logs of the swarm", running.logs()))
    return report


@pytest.fixture
def model(request: pytest.FixtureRequest, models: Path) -> str:
    """The name of a model that no other test's servers announce: a copy of the tiny Llama."""
    name = "tiny/" + re.sub(r"\W+", "-", request.node.name).strip("-")
    (models / name).symlink_to(models / "tiny" / "llama-sharded")
    return name


@pytest.fixture(scope="module", autouse=True)
def _no_process_is_left_behind() -> Iterator[None]:
    before = psutil.Process().children(recursive=True)
    yield
    after = psutil.Process().children(recursive=True)
    # torch's helper for shared memory ends with this process
    assert [one for one in after if one not in before and one.name() != "torch_shm_manager"] == []
