"""What the exporter answers over HTTP, from the first second to a silent swarm."""

import json
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from services.common.errors import Unavailable
from services.health.app import create_app
from services.health.views import state_document
from tests.unit.health.swarm_fakes import SILENT, model, server

STATE_KEYS = {"last_updated", "age_seconds", "update_period", "models", "left_out", "error"}


@pytest.fixture
def client(collector) -> TestClient:
    """A client of an application whose loop is not started, so that each test looks when it wants to."""
    return TestClient(create_app(collector, Path("/none")))


def test_before_the_first_look_everything_says_so(client):
    health = client.get("/healthz")
    assert (health.status_code, health.text) == (503, "not checked yet\n")
    state = client.get("/api/v1/state")
    assert state.status_code == 503
    assert state.json() == {
        "last_updated": None,
        "age_seconds": None,
        "update_period": 10.0,
        "models": [],
        "left_out": 0,
        "error": "not checked yet",
    }
    page = client.get("/")
    assert page.status_code == 200
    assert "The swarm was not seen yet." in page.text
    assert client.get("/metrics").status_code == 200


async def test_state_lists_models_blocks_and_servers(client, collector, directory, clock):
    directory.records = [
        model(server(start_block=1, end_block=3), repository="https://huggingface.co/owner/name")
    ]
    await collector.update()
    clock.now += 4.25
    answer = client.get("/api/v1/state")
    assert answer.status_code == 200
    assert answer.json() == {
        "last_updated": "2027-01-15T08:00:00+00:00",
        "age_seconds": 4.25,
        "update_period": 10.0,
        "models": [
            {
                "name": "owner/name",
                "dht_prefix": "tiny-hf",
                "repository": "https://huggingface.co/owner/name",
                "num_blocks": 4,
                "healthy": False,
                "missing_blocks": [0, 3],
                "blocks": [0, 1, 1, 0],
                "servers": [
                    {
                        "peer_id": "12D3KooWExamplePeer1",
                        "state": "online",
                        "start_block": 1,
                        "end_block": 3,
                        "public_name": "shelf",
                        "version": "2.2.0.post1",
                        "dtype": "bfloat16",
                        "quantization": "none",
                        "adapters": [],
                        "throughput": 10.5,
                        "inference_rps": 12.0,
                        "forward_rps": 300.0,
                        "network_rps": 90.0,
                        "cache_tokens_left": 16384,
                        "using_relay": False,
                    }
                ],
            }
        ],
        "left_out": 0,
        "error": None,
    }


async def test_a_silent_swarm_is_reported_beside_what_was_last_seen(client, collector, directory, clock):
    directory.records = [model(server())]
    await collector.update()
    directory.failure = SILENT
    clock.now += 120.0
    with pytest.raises(Unavailable):
        await collector.update()
    state = client.get("/api/v1/state")
    assert state.status_code == 200
    assert set(state.json()) == STATE_KEYS
    assert state.json()["age_seconds"] == 120.0
    assert state.json()["error"] == str(SILENT)
    assert state.json()["models"][0]["healthy"] is True
    assert client.get("/healthz").status_code == 503
    page = client.get("/").text
    assert "2 minutes ago" in page
    assert "The swarm does not answer" in page


async def test_hostile_records_give_valid_json(collector, directory, clock):
    directory.records = [
        model(server(throughput=float("nan"), public_name="\ud800", cache_tokens_left=10**40)),
        model(server(), prefix="huge", blocks=10**9),
    ]
    await collector.update()
    text = json.dumps(state_document(collector.knowledge, 10.0, clock.now), allow_nan=False)
    text.encode()
    assert [one["name"] for one in json.loads(text)["models"]] == ["tiny-hf"]


def test_every_answer_forbids_scripts_from_elsewhere(client):
    for path in ("/", "/api/v1/state", "/metrics", "/healthz", "/static/style.css", "/nothing-here"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy, path
        assert "unsafe" not in policy, path
        assert headers["x-content-type-options"] == "nosniff", path


def test_no_page_of_the_framework_is_served(client):
    for path in ("/docs", "/redoc", "/openapi.json"):
        assert client.get(path).status_code == 404


def test_metrics_are_in_prometheus_text_format(client):
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert "# TYPE calyx_collector_errors_total counter" in answer.text


def test_the_loop_runs_while_the_application_does(collector, directory):
    directory.records = [model(server())]
    with TestClient(create_app(collector, Path("/none"))) as client:
        # The first look is on its way; a look of our own, queued behind it, ends after it.
        client.portal.call(collector.update)
        assert client.get("/healthz").status_code == 200
        assert directory.open
    assert not directory.open
