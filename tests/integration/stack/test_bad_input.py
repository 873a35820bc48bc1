"""Mistakes of callers at the real endpoint: each is told in the form of its interface, and hurts nobody else."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from tests.integration.stack.pool import MODEL, Pool

OPEN = {"type": "open_inference_session", "model": MODEL, "max_length": 64}
GENERATE = {"type": "generate", "inputs": "The capital of France is", "max_new_tokens": 3}


@pytest.fixture(autouse=True)
def _serves_the_next_request(pool: Pool) -> Iterator[None]:
    """Whatever a test does, the next request is answered."""
    yield
    pool.works()


def _say(websocket: ClientConnection, message: dict[str, Any] | str | bytes) -> dict[str, Any]:
    websocket.send(json.dumps(message) if isinstance(message, dict) else message)
    return dict(json.loads(websocket.recv(60)))


def _is_error(answer: dict[str, Any], *words: str) -> None:
    assert answer["ok"] is False
    assert all(word in answer["error"] for word in words), answer
    assert "\n" not in answer["traceback"]
    assert "File " not in answer["traceback"]


@pytest.mark.parametrize(
    ("frame", "code", "word"),
    [(b"\x00\xff", 1003, "binary"), ('{"type": ', 1007, "JSON"), ("[1]", 1007, "JSON")],
    ids=["binary", "broken JSON", "no object"],
)
def test_what_is_no_message_ends_the_connection(pool: Pool, frame: str | bytes, code: int, word: str) -> None:
    with pool.socket() as websocket:
        _is_error(_say(websocket, frame), word)
        with pytest.raises(ConnectionClosed) as closed:
            websocket.recv(30)

    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == code


def test_a_wrong_message_leaves_the_session_as_it_was(pool: Pool) -> None:
    with pool.socket() as websocket:
        _is_error(_say(websocket, GENERATE), "open_inference_session")
        _is_error(_say(websocket, OPEN | {"model": "nobody/nothing"}), "nobody/nothing", MODEL)
        _is_error(_say(websocket, OPEN | {"max_length": 10**9}), "max_length")
        assert _say(websocket, OPEN) == {"ok": True}
        _is_error(_say(websocket, {"type": "sing"}), "sing")
        _is_error(_say(websocket, GENERATE | {"inputs": "again " * 100}), "Maximum length exceeded")
        _is_error(_say(websocket, GENERATE | {"do_sample": 1, "temperature": -1}), "temperature")
        answer = _say(websocket, GENERATE)

    assert answer["ok"] is True
    assert "Paris" in answer["outputs"]


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"model": "nobody/nothing"}, 404, ["nobody/nothing", MODEL]),
        ({"inputs": ""}, 400, ["empty"]),
        ({"inputs": "word " * 9000}, 400, ["Maximum length exceeded", "8192"]),
        ({"max_new_tokens": 10**9}, 400, ["Maximum length exceeded"]),
        ({"max_new_tokens": -1}, 400, ["max_new_tokens"]),
        ({"do_sample": 1, "top_p": 1e9}, 400, ["top_p"]),
        ({"do_sample": 1, "temperature": -1}, 400, ["temperature"]),
        ({"repetition_penalty": 0}, 400, ["repetition_penalty"]),
    ],
    ids=[
        "unknown model",
        "empty prompt",
        "over-long prompt",
        "longer than the model",
        "less than a token",
        "absurd top_p",
        "negative temperature",
        "no penalty",
    ],
)
def test_wrong_values_over_post(pool: Pool, change: dict[str, Any], status: int, words: list[str]) -> None:
    body = json.dumps({"inputs": "The capital of France is", "max_new_tokens": 3} | change)
    with pool.http() as client:
        answer = client.post(
            f"http://{pool.endpoint}/api/v1/generate",
            content=body,
            headers={"content-type": "application/json"},
        )

    assert answer.status_code == status, answer.text
    _is_error(answer.json(), *words)


def test_broken_json_over_post(pool: Pool) -> None:
    with pool.http() as client:
        answer = client.post(
            f"http://{pool.endpoint}/api/v1/generate",
            content='{"inputs": ',
            headers={"content-type": "application/json"},
        )

    assert answer.status_code == 400
    _is_error(answer.json(), "JSON")
