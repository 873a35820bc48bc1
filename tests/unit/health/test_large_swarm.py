"""A thousand servers of twenty deep models, and a flood beyond any bound: what is answered stays small."""

import json

import pytest

from services.health.api.petals_state import petals_state
from services.health.api.state import state_document
from services.health.exporter import MAX_SERVERS
from services.health.exposition import Exposition
from services.health.page.render import render_page
from services.swarm.records import ModelRecord
from tests.unit.health.swarm_fakes import model, server

BLOCKS, SPAN = 126, 30
MB = 1000**2


def swarm(models: int, servers: int) -> list[ModelRecord]:
    """Return models, each with so many servers of 30 blocks all over it."""
    return [
        model(
            *[
                server(
                    peer_id=f"12D3KooW-{number}-{one}",
                    start_block=one * 7 % (BLOCKS - SPAN + 1),
                    end_block=one * 7 % (BLOCKS - SPAN + 1) + SPAN,
                )
                for one in range(servers)
            ],
            prefix=f"model-{number}-hf",
            blocks=BLOCKS,
        )
        for number in range(models)
    ]


@pytest.mark.parametrize(("models", "servers"), [(20, 50), (100, 300)])
async def test_answers_are_bounded(collector, directory, tmp_path, models, servers):
    directory.records = swarm(models, servers)
    await collector.update()
    knowledge, now = collector.knowledge, collector.clock()

    assert len(render_page(knowledge, 10.0, now)) < 4 * MB
    assert len(json.dumps(state_document(knowledge, 10.0, now))) < 8 * MB
    assert len(json.dumps(petals_state(knowledge, 10.0))) < 10 * MB
    exposed = Exposition(tmp_path / "none", tmp_path).text(knowledge).decode()
    assert exposed.count("calyx_server_blocks{") == min(models * servers, MAX_SERVERS)
    assert len(exposed) < 3 * MB
    assert all(len(called) <= 128 for called in directory.called)
