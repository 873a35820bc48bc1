"""What tests say over a WebSocket, and what they expect of a refusal."""

import json
from typing import Any

import pytest
from starlette.testclient import WebSocketTestSession
from starlette.websockets import WebSocketDisconnect

from tests.unit.endpoint.fake_model import NAME

PATH = "/api/v2/generate"
OPEN = {"type": "open_inference_session", "model": NAME, "max_length": 100}


def say(socket: WebSocketTestSession, **message: Any) -> Any:
    socket.send_text(json.dumps(message))
    return json.loads(socket.receive_text())


def generate(socket: WebSocketTestSession, **fields: Any) -> Any:
    return say(socket, type="generate", **fields)


def refused(answer: Any, problem: str) -> None:
    assert answer["ok"] is False
    assert problem in answer["error"]
    assert answer["traceback"] == answer["error"]
    assert "\n" not in answer["error"]


def ended(socket: WebSocketTestSession, code: int) -> None:
    with pytest.raises(WebSocketDisconnect) as caught:
        socket.receive_text()
    assert caught.value.code == code
