"""Servers of tiny models that run batches, one of each variant."""

import pytest

from tests.unit.swarm.batch_server import Parts, Server, make_parts, make_server
from tests.unit.swarm.tiny_models import CONFIGS


@pytest.fixture(scope="module", params=CONFIGS)
def parts(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Parts:
    return make_parts(tmp_path_factory.mktemp("scheduler"), request.param)


@pytest.fixture
def server(parts: Parts) -> Server:
    return make_server(parts)
