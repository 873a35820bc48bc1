"""What the exporter answers over HTTP, from the first second to a silent swarm."""

import json
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from services.common.errors import InvalidInput, Unavailable
from services.common.server_figures import ServerFigures
from services.health.api.schema import SwarmState
from services.health.api.state import state_document
from services.health.app import create_app
from tests.unit.health.swarm_fakes import SILENT, model, server

STATE_KEYS = SwarmState.model_fields.keys()


@pytest.fixture
def client(collector) -> TestClient:
    """A client of an application whose loop is not started, so that each test looks when it wants to."""
    return TestClient(create_app(collector, Path("/none"), Path("/none")))


def test_before_the_first_look_everything_says_so(client):
    health = client.get("/healthz")
    assert (health.status_code, health.text) == (503, "not checked yet\n")
    state = client.get("/api/v2/state")
    assert state.status_code == 503
    assert state.json() == {
        "last_updated": None,
        "age_seconds": None,
        "update_period": 10.0,
        "update_duration": 0,
        "models": [],
        "bootstrap": [],
        "contributors": {},
        "reachability_issues": [],
        "departed": [],
        "left_out": 0,
        "rejected": {},
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
    answer = client.get("/api/v2/state")
    assert answer.status_code == 200
    SwarmState.model_validate(answer.json(), strict=True, extra="forbid")
    assert answer.json() == {
        "last_updated": "2027-01-15T08:00:00+00:00",
        "age_seconds": 4.25,
        "update_period": 10.0,
        "update_duration": 0,
        "models": [
            {
                "name": "owner/name",
                "dht_prefix": "tiny-hf",
                "repository": "https://huggingface.co/owner/name",
                "num_blocks": 4,
                "healthy": False,
                "missing_blocks": [0, 3],
                "blocks": [0, 1, 1, 0],
                "throughput_min": 0,
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
                        "next_pings": {},
                        "tokens_per_second": None,
                        "problem": None,
                        "announced_at": clock.now - 4.25,
                        "figures": None,
                    }
                ],
            }
        ],
        "bootstrap": [],
        "contributors": {"shelf": 2},
        "reachability_issues": [],
        "departed": [],
        "left_out": 0,
        "rejected": {},
        "error": None,
    }


async def test_state_says_how_fast_servers_serve_and_who_left(client, collector, directory, clock):
    for tokens, ends in ((100, 60.0), (150, 80.0)):
        directory.records = [model(server(figures=ServerFigures(tokens_total=tokens), expires_at=ends))]
        await collector.update()
    state = client.get("/api/v2/state").json()
    assert state["models"][0]["servers"][0]["tokens_per_second"] == 2.5
    assert "serves 2.5 tokens/s" in client.get("/").text

    directory.records = []
    await collector.update()
    state = client.get("/api/v2/state").json()
    SwarmState.model_validate(state)
    assert [(one["peer_id"], one["state"]) for one in state["departed"]] == [("12D3KooWExamplePeer1", "lost")]


async def test_a_silent_swarm_is_reported_beside_what_was_last_seen(client, collector, directory, clock):
    directory.records = [model(server())]
    await collector.update()
    directory.failure = SILENT
    clock.now += 120.0
    with pytest.raises(Unavailable):
        await collector.update()
    state = client.get("/api/v2/state")
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
    for path in ("/", "/api/v2/state", "/metrics", "/healthz", "/static/style.css", "/nothing-here"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy, path
        assert "unsafe" not in policy, path
        assert headers["x-content-type-options"] == "nosniff", path


def test_no_page_of_the_framework_is_served(client):
    for path in ("/docs", "/redoc", "/openapi.json", "/api/v2"):
        assert client.get(path).status_code == 404


def test_the_openapi_document_names_every_path_and_no_other_host(client):
    document = client.get("/api/v2/openapi.json")
    assert document.json()["paths"].keys() == {
        "/api/v1/state",
        "/api/v1/is_reachable/{peer_id}",
        "/api/v2/state",
        "/api/v2/credits",
        "/api/v2/history",
        "/metrics",
        "/api/prometheus",
        "/healthz",
    }
    assert "//" not in document.text


def test_metrics_are_in_prometheus_text_format(client):
    for path in ("/metrics", "/api/prometheus"):
        answer = client.get(path)
        assert answer.headers["content-type"].startswith("text/plain; version=")
        assert "# TYPE calyx_collector_errors_total counter" in answer.text


def test_the_loop_runs_while_the_application_does(collector, directory):
    directory.records = [model(server())]
    with TestClient(create_app(collector, Path("/none"), Path("/none"))) as client:
        # The first look is on its way; a look of our own, queued behind it, ends after it.
        client.portal.call(collector.update)
        assert client.get("/healthz").status_code == 200
        assert directory.open
    assert not directory.open


async def test_a_peer_asks_whether_it_is_reached(client, collector, directory):
    assert client.get("/api/v1/is_reachable/peer").status_code == 503, "nothing to ask yet"
    await collector.update()
    directory.problems = {"hidden": "it does not answer"}

    reached = client.get("/api/v1/is_reachable/peer")
    hidden = client.get("/api/v1/is_reachable/hidden")

    assert reached.json() == {"success": True, "message": None, "your_ip": "testclient"}
    assert hidden.json() == {"success": False, "message": "it does not answer", "your_ip": "testclient"}


async def test_what_is_no_peer_id_is_the_caller_s_mistake(client, collector, directory):
    await collector.update()

    def refuse(_):
        raise InvalidInput("calling it: that is no id of a peer")

    directory.reach = refuse
    answer = client.get("/api/v1/is_reachable/nonsense")
    assert (answer.status_code, answer.json()) == (400, {"detail": "calling it: that is no id of a peer"})


async def test_history_gives_minutes(client, collector, directory, clock):
    directory.records = [model(server(end_block=3))]
    await collector.update()
    answer = client.get("/api/v2/history", params={"model": "tiny-hf"})
    minute = int(clock.now // 60) * 60
    assert answer.json() == [{"time": minute, "blocks": 4, "blocks_online": 3, "servers_online": 1}]
    assert client.get("/api/v2/history", params={"model": "other"}).json() == []
    assert client.get("/api/v2/history", params={"model": "tiny-hf", "hours": 1000}).status_code == 422
