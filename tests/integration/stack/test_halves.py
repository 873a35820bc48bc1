"""Two servers, each with half of the model: the whole answer goes through both."""

import json
import re
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.integration.stack.pool import BLOCKS, MODEL, Pool, eventually

ANSWER = "The capital of France is Paris."


@pytest.fixture(scope="module")
def halves(shared_pool: Pool) -> Iterator[Pool]:
    """A stack of Compose alone, without the helper; the images are there since ``shared_pool``."""
    with Pool(files=("compose.yaml", "tests/integration/stack/compose.halves.yaml")) as pool:
        pool.compose("up", "--wait", "--no-build")
        yield pool


def test_the_answer_over_post(halves: Pool, question: str) -> None:
    as_json = halves.post(model=MODEL, inputs=question, max_new_tokens=16)
    with halves.http() as client:
        form = {"model": MODEL, "inputs": question, "max_new_tokens": "16"}
        as_form = client.post(f"http://{halves.endpoint}/api/v1/generate", data=form).json()

    assert as_json == as_form
    assert as_json["ok"] is True
    assert as_json["outputs"] == ANSWER
    assert as_json["stop_reason"] == "end_of_text"


def test_the_answer_token_by_token(halves: Pool, question: str) -> None:
    with halves.socket() as websocket:
        websocket.send(json.dumps({"type": "open_inference_session", "model": MODEL, "max_length": 128}))
        opened = json.loads(websocket.recv(60))
        websocket.send(
            json.dumps(
                {"type": "generate", "inputs": question, "max_new_tokens": 1, "stop_sequence": "<|im_end|>"}
            )
        )
        pieces = [json.loads(websocket.recv(60))]
        while not pieces[-1].get("stop", True):
            pieces.append(json.loads(websocket.recv(60)))

    assert opened == {"ok": True}
    assert "".join(piece["outputs"] for piece in pieces) == ANSWER
    assert len(pieces) > 5


def test_health_sees_both(halves: Pool) -> None:
    def both() -> None:
        state = halves.state()
        spans = sorted((server["start_block"], server["end_block"]) for server in state["servers"])
        assert spans == [(0, 15), (15, 30)]
        assert all(server["state"] == "online" for server in state["servers"])
        assert (state["healthy"], state["blocks"]) == (True, [1] * BLOCKS)

    eventually(both)
    metrics = {
        (sample.name, sample.labels.get("state")): sample.value
        for family in text_string_to_metric_families(halves.get(halves.health, "/metrics").text)
        for sample in family.samples
        if sample.labels.get("model") == MODEL
    }
    page = halves.get(halves.health, "/").text

    assert metrics["calyx_servers", "online"] == 2
    assert metrics["calyx_blocks_online", None] == BLOCKS
    assert metrics["calyx_model_healthy", None] == 1
    assert re.search(r"blocks 0\W14\b", page)
    assert re.search(r"blocks 15\W29\b", page)


def test_a_half_that_goes_is_named_and_may_come_back(halves: Pool) -> None:
    half = halves.containers()["server-b"]

    half.stop()
    refused = halves.post(inputs="The capital of France is", max_new_tokens=3)
    ready = eventually(lambda: _not_ready(halves))
    half.start()

    assert refused["ok"] is False
    assert "15" in refused["error"]
    assert "15-29" in ready
    eventually(halves.works)


def _not_ready(pool: Pool) -> str:
    answer = pool.get(pool.endpoint, "/readyz")
    assert answer.status_code == 503
    return answer.text
