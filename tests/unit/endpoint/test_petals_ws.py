"""WS /api/v2/generate: the protocol of chat.petals.dev."""

import json
from collections.abc import Callable
from typing import Any

from fastapi.testclient import TestClient
from starlette.testclient import WebSocketTestSession

from tests.unit.endpoint.fake_model import NAME, FakeModel
from tests.unit.endpoint.talk import OPEN, PATH, generate, refused, say


def test_without_a_stop_sequence_the_answer_is_one_message(session: WebSocketTestSession) -> None:
    answer = generate(session, model=NAME, inputs="Tell me", max_length=100, temperature=0.1)
    assert answer == {
        "ok": True,
        "outputs": "Once upon a time.",
        "stop": True,
        "token_count": 18,
        "stop_reason": "end_of_text",
    }


def test_messages_may_be_sent_ahead(socket: WebSocketTestSession) -> None:
    """The README's example of chat.petals.dev does not wait for the session."""
    socket.send_text(json.dumps(OPEN))
    socket.send_text(json.dumps({"type": "generate", "inputs": "Hi", "max_length": 6}))
    assert json.loads(socket.receive_text()) == {"ok": True}
    assert json.loads(socket.receive_text())["outputs"] == "Once"


def test_the_model_may_be_left_out(socket: WebSocketTestSession) -> None:
    assert say(socket, type="open_inference_session", max_length=1024 // 2) == {"ok": True}


def stream(socket: WebSocketTestSession, **fields: Any) -> list[Any]:
    answers = [generate(socket, **fields)]
    while not answers[-1]["stop"]:
        answers.append(json.loads(socket.receive_text()))
    return answers


def test_with_a_stop_sequence_pieces_come_until_it(session: WebSocketTestSession) -> None:
    answers = stream(session, inputs="Hi", max_new_tokens=1, stop_sequence="upon")
    assert [answer["outputs"] for answer in answers] == list("Once upon")
    assert all(answer["token_count"] == 1 and answer["ok"] for answer in answers)
    assert [answer["stop"] for answer in answers] == [False] * 8 + [True]
    assert answers[-1]["stop_reason"] == "stop_sequence"


def test_max_new_tokens_is_then_the_size_of_a_piece(session: WebSocketTestSession) -> None:
    answers = stream(session, inputs="Hi", max_new_tokens=6, stop_sequence="zzz")
    assert [answer["outputs"] for answer in answers] == ["Once u", "pon a ", "time."]
    assert [answer["token_count"] for answer in answers] == [6, 6, 6]


def test_and_max_length_is_the_end(session: WebSocketTestSession) -> None:
    answers = stream(session, inputs="Hi", max_length=7, stop_sequence="zzz")
    assert [answer["outputs"] for answer in answers] == list("Once ")
    assert answers[-1]["stop_reason"] == "length"


def test_the_end_of_the_session_ends_a_stream(socket: WebSocketTestSession) -> None:
    say(socket, **{**OPEN, "max_length": 6})
    answers = stream(socket, inputs="Hi", max_new_tokens=1, stop_sequence="zzz")
    assert len(answers) == 4
    refused(generate(socket, inputs="more", max_new_tokens=1), "Maximum length exceeded")


def test_a_dialogue_of_several_turns_runs_in_one_session(
    session: WebSocketTestSession, model: FakeModel
) -> None:
    assert generate(session, inputs="Hi", max_new_tokens=4)["outputs"] == "Once"
    assert generate(session, inputs=None, max_new_tokens=5)["outputs"] == " upon"
    assert generate(session, max_new_tokens=2)["outputs"] == " a"
    assert generate(session, inputs="!", max_new_tokens=2)["outputs"] == " t"
    assert len(model.sessions) == 1
    sent = [token for step in model.sessions[0].steps for token in step]
    assert model.tokenizer.decode(sent) == "HiOnce upon a! "


def test_the_extra_stop_sequence_gives_way_to_the_stop_sequence(
    session: WebSocketTestSession, model: FakeModel
) -> None:
    answers = stream(
        session, inputs="Hi", max_new_tokens=1, stop_sequence="#", extra_stop_sequences=["upon", "zzz"]
    )
    assert "".join(answer["outputs"] for answer in answers) == "Once upon"
    generate(session, inputs="Human:", max_new_tokens=1)
    sent = [token for step in model.sessions[0].steps for token in step]
    assert model.tokenizer.decode(sent) == "HiOnce upo#Human:"


def test_characters_are_never_cut(serve: Callable[..., TestClient]) -> None:
    with serve(FakeModel("ö🙂 你")).websocket_connect(PATH) as socket:
        say(socket, **OPEN)
        answers = stream(socket, inputs="Hi", max_new_tokens=1, stop_sequence="你")
    assert [(answer["outputs"], answer["token_count"]) for answer in answers] == [
        ("ö", 2),
        ("🙂", 4),
        (" ", 1),
        ("你", 3),
    ]
