"""WS /api/v2/generate: what wrong messages, clients that leave and a swarm in trouble do to a connection."""

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient
from starlette.testclient import WebSocketTestSession
from starlette.websockets import WebSocketDisconnect

from services.common.errors import Unavailable
from tests.unit.endpoint.fake_model import NAME, FakeModel
from tests.unit.endpoint.talk import OPEN, PATH, ended, generate, refused, say


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"inputs": ""}, "the text is empty"),
        ({"inputs": "x" * 200}, "Maximum length exceeded"),
        ({"inputs": "\ud800"}, "surrogate"),
        ({"max_new_tokens": None}, "neither is given"),
        ({"max_length": 9}, "both are given"),
        ({"max_new_tokens": None, "max_length": 101}, "Maximum length exceeded"),
        ({"max_new_tokens": -1}, "max_new_tokens: must be at least 1"),
        ({"max_new_tokens": "4"}, "max_new_tokens: input should be a valid integer"),
        ({"do_sample": 1, "temperature": -0.5}, "temperature: must be between"),
        ({"top_p": 7}, "top_p: must be between"),
        ({"stop_sequence": ""}, "stop sequences"),
        ({"stop_sequence": 5}, "stop_sequence: input should be a valid string"),
        ({"model": "other/model"}, f"this session is one of {NAME}"),
    ],
)
def test_a_wrong_value_leaves_the_session_as_it_was(
    session: WebSocketTestSession, model: FakeModel, fields: dict[str, Any], problem: str
) -> None:
    assert generate(session, inputs="Hi", max_new_tokens=4)["outputs"] == "Once"
    refused(generate(session, **{"inputs": "Hi", "max_new_tokens": 1, **fields}), problem)
    assert generate(session, max_new_tokens=5)["outputs"] == " upon"
    assert len(model.sessions) == 1


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"model": "gpt-9"}, f"'gpt-9' is not served here — use {NAME}"),
        ({"model": 5}, "model: input should be a valid string"),
        ({"max_length": 513}, "max_length: must be between 1 and 512"),
        ({"max_length": 0}, "max_length: must be between 1 and 512"),
        ({"max_length": -1}, "max_length: must be between 1 and 512"),
        ({"max_length": "100"}, "max_length: input should be a valid integer"),
        ({"max_length": None}, "max_length: input should be a valid integer"),
    ],
)
def test_a_session_that_cannot_be_opened_may_be_tried_again(
    socket: WebSocketTestSession, fields: dict[str, Any], problem: str
) -> None:
    refused(say(socket, **{**OPEN, **fields}), problem)
    assert say(socket, **OPEN) == {"ok": True}


def test_a_field_that_is_missing_is_named(socket: WebSocketTestSession) -> None:
    refused(say(socket, type="open_inference_session"), "max_length: field required")


def test_generating_before_opening_is_told_and_forgiven(socket: WebSocketTestSession) -> None:
    refused(generate(socket, inputs="Hi", max_new_tokens=1), "send open_inference_session first")
    assert say(socket, **OPEN) == {"ok": True}
    assert generate(socket, inputs="Hi", max_new_tokens=4)["outputs"] == "Once"


def test_opening_twice_is_told_and_the_first_session_stays(session: WebSocketTestSession) -> None:
    generate(session, inputs="Hi", max_new_tokens=4)
    refused(say(session, **OPEN), "a session is open already")
    assert generate(session, max_new_tokens=5)["outputs"] == " upon"


@pytest.mark.parametrize("kind", [None, "close", 7, {"a": 1}, "x" * 10_000])
def test_an_unknown_type_of_message_is_told_and_forgiven(session: WebSocketTestSession, kind: Any) -> None:
    answer = say(session, type=kind)
    refused(answer, "send open_inference_session, then generate")
    assert len(answer["error"]) < 300
    assert generate(session, inputs="Hi", max_new_tokens=4)["outputs"] == "Once"


@pytest.mark.parametrize(
    "text", ["", "{", "hello", "[1]", "null", "5", "[" * 100_000, '{"a":' * 100_000, '{"type": NaN}']
)
def test_what_is_no_message_ends_the_connection(
    session: WebSocketTestSession, model: FakeModel, text: str
) -> None:
    generate(session, inputs="Hi", max_new_tokens=1)
    session.send_text(text)
    refused(json.loads(session.receive_text()), "JSON")
    ended(session, 1007)
    assert model.sessions[0].closed.wait(20)


def test_a_binary_frame_ends_the_connection(client: TestClient, session: WebSocketTestSession) -> None:
    session.send_bytes(json.dumps({"type": "generate"}).encode())
    refused(json.loads(session.receive_text()), "binary frames are not understood")
    ended(session, 1003)
    with client.websocket_connect(PATH) as another:
        assert say(another, **OPEN) == {"ok": True}


def test_a_message_over_the_limit_ends_the_connection(
    serve: Callable[..., TestClient], model: FakeModel
) -> None:
    with serve(model, max_message_bytes=1024).websocket_connect(PATH) as socket:
        socket.send_text(json.dumps({**OPEN, "model": "ö" * 600}, ensure_ascii=False))
        refused(json.loads(socket.receive_text()), "more than 1024 bytes")
        ended(socket, 1009)


def test_a_flood_of_messages_ends_the_connection(serve: Callable[..., TestClient], model: FakeModel) -> None:
    model.gate = threading.Semaphore(0)
    with serve(model).websocket_connect(PATH) as socket:
        assert say(socket, **OPEN) == {"ok": True}
        for _ in range(40):
            socket.send_text(json.dumps({"type": "generate", "inputs": "Hi", "max_new_tokens": 1}))
        refused(json.loads(socket.receive_text()), "more than 16 messages wait")
        ended(socket, 1008)
        model.gate.release(1000)


def test_a_session_that_is_idle_for_too_long_expires(
    serve: Callable[..., TestClient], model: FakeModel
) -> None:
    with serve(model, idle_timeout=0.05).websocket_connect(PATH) as socket:
        refused(json.loads(socket.receive_text()), "Session idle for 0.05 s has expired")
        ended(socket, 1001)


def test_a_client_that_vanishes_stops_its_generation_and_frees_its_session(
    serve: Callable[..., TestClient], model: FakeModel
) -> None:
    model.gate = threading.Semaphore(3)
    client = serve(model, max_running=1, max_waiting=0)
    with client.websocket_connect(PATH) as socket:
        say(socket, **OPEN)
        socket.send_text(json.dumps({"type": "generate", "inputs": "Hi", "max_length": 90}))
        for _ in range(3):
            assert model.stepped.acquire(timeout=20)
    model.gate.release(1)
    assert model.sessions[0].closed.wait(20)
    assert len(model.sessions[0].steps) <= 4


def test_a_swarm_that_loses_blocks_ends_the_session_and_another_can_be_opened(
    session: WebSocketTestSession, model: FakeModel
) -> None:
    model.fail_at[3] = Unavailable("no server for blocks 3:9", "wait for one")
    session.send_text(
        json.dumps({"type": "generate", "inputs": "Hi", "max_new_tokens": 1, "stop_sequence": "zzz"})
    )
    assert [json.loads(session.receive_text())["outputs"] for _ in range(2)] == ["O", "n"]
    refused(json.loads(session.receive_text()), "no server for blocks 3:9 — wait for one")
    refused(generate(session, max_new_tokens=1), "no session is open")
    assert model.sessions[0].closed.wait(20)
    assert say(session, **OPEN) == {"ok": True}
    assert generate(session, inputs="Hi", max_new_tokens=4)["outputs"] == "Once"


def test_when_all_places_are_taken_the_session_stays_for_another_try(
    serve: Callable[..., TestClient], model: FakeModel
) -> None:
    model.gate = threading.Semaphore(1)
    client = serve(model, max_running=1, max_waiting=0)
    with client.websocket_connect(PATH) as one, client.websocket_connect(PATH) as two:
        say(one, **OPEN)
        say(two, **OPEN)
        one.send_text(json.dumps({"type": "generate", "inputs": "Hi", "max_new_tokens": 4}))
        assert model.stepped.acquire(timeout=20)
        refused(generate(two, inputs="Hi", max_new_tokens=4), "all places are taken")
        model.gate.release(1000)
        assert json.loads(one.receive_text())["outputs"] == "Once"
        assert generate(two, inputs="Hi", max_new_tokens=4)["outputs"] == "Once"


def test_out_of_time_is_told(serve: Callable[..., TestClient], model: FakeModel) -> None:
    model.gate = threading.Semaphore(0)
    with serve(model, request_timeout=1.0).websocket_connect(PATH) as socket:
        say(socket, **OPEN)
        refused(generate(socket, inputs="Hi", max_new_tokens=4), "took longer than 1 s")
        model.gate.release(1000)
        assert model.sessions[0].closed.wait(20)


def test_the_unexpected_is_told_without_its_text(session: WebSocketTestSession, model: FakeModel) -> None:
    model.fail_at[1] = KeyError("my secret prompt")
    answer = generate(session, inputs="Hi", max_new_tokens=4)
    refused(answer, "the endpoint failed unexpectedly (KeyError)")
    assert "secret" not in answer["error"]
    assert say(session, **OPEN) == {"ok": True}


def test_a_page_of_another_origin_is_kept_out(client: TestClient, model: FakeModel) -> None:
    with (
        pytest.raises(WebSocketDisconnect),
        client.websocket_connect(PATH, headers={"origin": "https://evil.example"}),
    ):
        pytest.fail("connected")
    with client.websocket_connect(
        PATH, headers={"host": "localhost", "origin": "http://localhost"}
    ) as socket:
        assert say(socket, **OPEN) == {"ok": True}
