"""WS /api/v2/generate, whatever is sent: each frame is answered in the protocol's form or ends the connection."""

import json
from collections.abc import Callable
from typing import Any

from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as some
from starlette.testclient import WebSocketTestSession

from tests.unit.endpoint.conftest import until
from tests.unit.endpoint.fake_model import NAME, FakeModel
from tests.unit.endpoint.talk import PATH

LAST = {"type": "the last one"}
ODD_NUMBERS = some.sampled_from(
    [0, -1, 1, 2**31, 2**63, 10**40, 1.5, -0.0, 1e308, float("nan"), float("inf")]
)
ODD_TEXTS = some.sampled_from(["", "\x00", "\ud800", "<|im_end|>", "🙂" * 50, "x" * 3000, "Once", NAME])
PLAIN = some.none() | some.booleans() | ODD_NUMBERS | ODD_TEXTS | some.text(max_size=20) | some.integers()
JSON = some.recursive(
    PLAIN,
    lambda inner: some.lists(inner, max_size=4) | some.dictionaries(some.text(max_size=8), inner, max_size=4),
)
OPEN = {"type": "open_inference_session", "max_length": 64}
GENERATE = {"type": "generate", "inputs": "Hi", "max_new_tokens": 4}
SAMPLED = {
    **GENERATE,
    "do_sample": 1,
    "temperature": 0.5,
    "top_k": 5,
    "top_p": 0.9,
    "repetition_penalty": 1.1,
}
STREAMED = {**GENERATE, "stop_sequence": "zzz", "extra_stop_sequences": ["upon"]}
FIELDS = sorted({"model", "max_length", "seed", "unknown", *SAMPLED, *STREAMED})
CHANGE = some.dictionaries(some.sampled_from(FIELDS), JSON, max_size=2)
ALMOST = some.builds(
    lambda one, change: one | change, some.sampled_from([OPEN, GENERATE, SAMPLED, STREAMED]), CHANGE
)
MESSAGE = (ALMOST | JSON).map(json.dumps)
BEGINNING = some.sampled_from([[json.dumps(OPEN)], [json.dumps(OPEN)], []])
FRAME = ALMOST.map(json.dumps) | MESSAGE | some.text(max_size=30) | some.binary(max_size=30)


def replies(socket: WebSocketTestSession) -> list[Any]:
    """Return everything that comes until the answer to ``LAST``, or until the connection ends as it may."""
    found: list[Any] = []
    while "the last one" not in str(found[-1:]):
        message = socket.receive()
        if message["type"] == "websocket.close":
            assert message["code"] in {1003, 1007, 1008, 1009}
            break
        found.append(json.loads(message["text"]))
    return found


def is_answer(reply: Any) -> bool:
    return reply == {"ok": True} or reply.keys() - {"stop_reason"} == {"ok", "outputs", "stop", "token_count"}


def is_failure(reply: Any) -> bool:
    if reply.keys() != {"ok", "error", "traceback"}:
        return False
    line = reply["error"]
    ours = any(word in line for word in ("unexpectedly", "Traceback", 'File "', ".py"))
    return line == reply["traceback"] and "\n" not in line and len(line) < 1000 and not ours


def test_every_frame_is_answered_or_ends_the_connection(serve: Callable[..., TestClient]) -> None:
    model = FakeModel("Once upon a time.", max_length=64)
    client = serve(model, max_message_bytes=2048)

    @settings(
        max_examples=150,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(BEGINNING, some.lists(FRAME, max_size=6))
    def check(beginning: list[str], frames: list[str | bytes]) -> None:
        with client.websocket_connect(PATH) as socket:
            for frame in [*beginning, *frames]:
                if isinstance(frame, bytes):
                    socket.send_bytes(frame)
                else:
                    socket.send_text(frame)
            socket.send_text(json.dumps(LAST))
            for reply in replies(socket):
                assert is_answer(reply) if reply["ok"] is True else is_failure(reply), reply

    check()

    assert len(model.sessions) > 10
    until(lambda: all(session.closed.is_set() for session in model.sessions))
