"""Servers that run batches: of tiny models, one of each variant, and without any; these tests have one thread."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from services.swarm.serving.open_sessions import OPEN
from tests.unit.swarm.batch_server import Parts, Server, make_parts, make_server
from tests.unit.swarm.bundle_server import BundleServer


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Tiny models gain nothing from threads, which wait for each other wherever a machine does something else."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", params=("llama", "llama-3.1", "mixtral", "mistral", "gemma2", "gemma3"))
def parts(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Parts:
    return make_parts(tmp_path_factory.mktemp("scheduler"), request.param)


@pytest.fixture
def server(parts: Parts) -> Server:
    return make_server(parts)


@pytest.fixture
def bundle_server(tmp_path: Path) -> Iterator[BundleServer]:
    OPEN.clear()
    yield BundleServer(tmp_path)
    OPEN.clear()
