"""A script written for health.petals.dev finds its fields."""

import pytest
from fastapi.testclient import TestClient

from services.common.server_figures import ServerFigures
from services.health.api.petals_state import petals_state
from services.health.app import create_app
from tests.unit.health.swarm_fakes import model, server

HUB = "https://huggingface.co/owner/name"


async def test_has_the_fields_of_the_reference(collector, directory, clock):
    directory.entrances = {"first": None, "second": "it does not answer"}
    directory.problems = {"lost": "dial refused"}
    directory.records = [
        model(
            server(peer_id="peer-of-abcdef", end_block=12, adapters=("o/lora",), next_pings={"next": 0.25}),
            server(peer_id="next", start_block=12, end_block=20, public_name="small"),
            server(peer_id="lost", start_block=12, end_block=20, public_name="lost"),
            repository=HUB,
            blocks=20,
        )
    ]
    await collector.update()

    state = petals_state(collector.knowledge, 10.0)

    assert state["bootstrap_states"] == ["online", "unreachable"]
    assert state["top_contributors"] == {"shelf": 12}, "whoever holds fewer than 10 blocks is not named"
    assert state["reachability_issues"] == [
        {"peer_id": "second", "err": "it does not answer"},
        {"peer_id": "lost", "err": "dial refused"},
    ]
    assert (state["last_updated"], state["update_period"], state["update_duration"]) == (clock.now, 10.0, 0)
    (report,) = state["model_reports"]
    rows = {row["peer_id"]: row for row in report.pop("server_rows")}
    assert report == {
        "name": "owner/name",
        "short_name": "name",
        "state": "healthy",
        "num_blocks": 20,
        "repository": HUB,
        "dht_prefix": "tiny-hf",
        "official": True,
        "limited": False,
    }
    assert rows["lost"]["state"] == "unreachable"
    assert rows["lost"]["span"]["server_info"]["state"] == "online"
    assert rows["next"]["pings_to_me"] == {"peer-of-abcdef": 0.25}
    assert rows["next"]["show_public_name"] is False
    assert rows["peer-of-abcdef"] == {
        "short_peer_id": "...abcdef",
        "peer_id": "peer-of-abcdef",
        "peer_ip_info": "unknown",
        "show_public_name": True,
        "state": "online",
        "span": {
            "peer_id": "peer-of-abcdef",
            "start": 0,
            "end": 12,
            "length": 12,
            "server_info": {
                "state": "online",
                "throughput": 10.5,
                "start_block": 0,
                "end_block": 12,
                "public_name": "shelf",
                "version": "2.2.0.post1",
                "network_rps": 90.0,
                "forward_rps": 300.0,
                "inference_rps": 12.0,
                "adapters": ["o/lora"],
                "torch_dtype": "bfloat16",
                "quant_type": "none",
                "using_relay": False,
                "cache_tokens_left": 16384,
                "next_pings": {"next": 0.25},
            },
        },
        "adapters": [{"name": "o/lora", "short_name": "lora"}],
        "pings_to_me": {},
        "cache_tokens_left_per_block": 16384 // 24,
    }


@pytest.mark.parametrize(("figures", "left"), [(None, 16384 // 8), (ServerFigures(), 16384)])
async def test_cache_is_what_all_blocks_of_a_server_can_hold(collector, directory, figures, left):
    directory.records = [model(server(figures=figures))]
    await collector.update()
    (report,) = petals_state(collector.knowledge, 10.0)["model_reports"]
    assert report["server_rows"][0]["cache_tokens_left_per_block"] == left


async def test_a_paused_server_is_offline_to_those_who_know_no_pause(collector, directory):
    directory.records = [model(server(state="offline", figures=ServerFigures(paused=True)))]
    await collector.update()
    (report,) = petals_state(collector.knowledge, 10.0)["model_reports"]
    assert (report["state"], report["server_rows"][0]["state"]) == ("broken", "offline")


async def test_has_one_shape_before_the_swarm_was_seen_and_after(collector, directory, tmp_path):
    client = TestClient(create_app(collector, tmp_path / "none", tmp_path))
    before = client.get("/api/v1/state")
    await collector.update()
    after = client.get("/api/v1/state")
    assert (before.status_code, after.status_code) == (503, 200)
    assert before.json().keys() == after.json().keys()
