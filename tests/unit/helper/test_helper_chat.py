import io
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import SecretStr
from websockets.http11 import Request, Response
from websockets.sync.server import Server, ServerConnection, serve

from scripts.helper.chat import Conversation, Tally, conversation
from scripts.helper.commands.chat import ChatOptions, answer
from services.common.errors import Broken, InvalidInput, Refused, Unavailable

ORDINARY = ChatOptions(prompt=None, model=None, raw=False, max_length=64, temperature=None)


class FakeWire:
    """An endpoint that answers from a list; each message takes a second."""

    def __init__(self, *replies: dict[str, Any] | str) -> None:
        self.replies = [reply if isinstance(reply, str) else json.dumps(reply) for reply in replies]
        self.sent: list[dict[str, Any]] = []
        self.seconds = 0.0

    def send(self, message: str) -> None:
        self.sent.append(json.loads(message))

    def recv(self, timeout: float | None = None) -> str | bytes:
        self.seconds += 1.0
        return self.replies.pop(0)

    def open(self) -> Conversation:
        return Conversation(self, "a/b", 64, clock=lambda: self.seconds)


def piece(text: str, stop: bool = False) -> dict[str, Any]:
    return {"ok": True, "outputs": text, "stop": stop, "token_count": 1}


def test_an_answer_comes_in_pieces_and_is_counted() -> None:
    wire = FakeWire({"ok": True}, piece(" Par"), piece("is."), piece("", stop=True))
    tally = Tally()
    assert list(wire.open().ask("Capital?", tally, max_new_tokens=1)) == [" Par", "is.", ""]
    assert tally == Tally(" Paris.", 3, 3.0)
    assert tally.tokens_per_second == 1.0
    assert wire.sent == [
        {"type": "open_inference_session", "model": "a/b", "max_length": 64},
        {"type": "generate", "model": "a/b", "inputs": "Capital?", "max_new_tokens": 1},
    ]


def test_the_endpoints_own_words_are_passed_on() -> None:
    wire = FakeWire({"ok": False, "error": "blocks 3-5 have no server — wait", "traceback": "…"})
    with pytest.raises(Unavailable, match="the endpoint answered: blocks 3-5 have no server — wait"):
        wire.open()


def test_an_answer_that_is_no_json() -> None:
    with pytest.raises(Broken, match="not JSON"):
        FakeWire("<html>").open()


def said(*pieces: str, options: ChatOptions = ORDINARY, question: str = "Capital?") -> tuple[str, FakeWire]:
    replies = [piece(text, stop=index == len(pieces) - 1) for index, text in enumerate(pieces)]
    wire, out = FakeWire({"ok": True}, *replies), io.StringIO()
    answer(wire.open(), question, options, out)
    return out.getvalue(), wire


def test_white_space_around_an_answer_is_not_shown() -> None:
    text, wire = said(" ", " Paris", " is", " it.", "\n", "\n")
    assert text == "Paris is it.\n"
    assert wire.sent[1]["inputs"] == "Human: Capital?\n\nAssistant:"
    assert wire.sent[1]["stop_sequence"] == "\n\n"
    assert wire.sent[1]["max_length"] == 64
    assert "do_sample" not in wire.sent[1]


def test_white_space_inside_an_answer_stays() -> None:
    assert said("one\n", "two")[0] == "one\ntwo\n"


def test_raw_text_is_continued_as_it_is() -> None:
    raw = ChatOptions(prompt=None, model=None, raw=True, max_length=64, temperature=0.7)
    text, wire = said(" on", " a mat", options=raw, question="A cat sat")
    assert text == " on a mat\n"
    assert wire.sent[1]["inputs"] == "A cat sat"
    assert (wire.sent[1]["do_sample"], wire.sent[1]["temperature"]) == (1, 0.7)


def test_an_empty_prompt_is_refused_before_it_is_sent() -> None:
    with pytest.raises(InvalidInput, match="the prompt is empty"):
        said("never", question="  \n")


@pytest.fixture
def closing_server() -> Iterator[Server]:
    """An endpoint that takes a session and then vanishes."""

    def handle(connection: ServerConnection) -> None:
        connection.recv()
        connection.send('{"ok": true}')
        connection.recv()

    with serve(handle, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_an_endpoint_that_vanishes_in_the_middle(closing_server: Server) -> None:
    port = closing_server.socket.getsockname()[1]
    with (
        pytest.raises(Unavailable, match=f"no endpoint answers at ws://127.0.0.1:{port}"),
        conversation(port, "a/b", 64) as session,
    ):
        list(session.ask("Capital?", Tally()))


def test_no_endpoint_at_all(closing_server: Server) -> None:
    port = closing_server.socket.getsockname()[1]
    closing_server.shutdown()
    closing_server.socket.close()
    with pytest.raises(Unavailable, match="status shows what runs"), conversation(port, "a/b", 64):
        pass


@pytest.fixture
def guarded_server() -> Iterator[Server]:
    """An endpoint that asks for the key "right"."""

    def guard(connection: ServerConnection, request: Request) -> Response | None:
        right = request.headers.get("authorization") == "Bearer right"
        return None if right else connection.respond(401, "no")

    def handle(connection: ServerConnection) -> None:
        connection.recv()
        connection.send('{"ok": true}')

    with serve(handle, "127.0.0.1", 0, process_request=guard) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("key", [None, SecretStr("wrong")])
def test_an_endpoint_that_asks_for_another_key(guarded_server: Server, key: SecretStr | None) -> None:
    port = guarded_server.socket.getsockname()[1]
    with (
        pytest.raises(Refused, match="asks for a valid API key — set CALYX_API_KEY"),
        conversation(port, "a/b", 64, key),
    ):
        pass


def test_an_endpoint_that_gets_the_key_it_asks_for(guarded_server: Server) -> None:
    port = guarded_server.socket.getsockname()[1]
    with conversation(port, "a/b", 64, SecretStr("right")):
        pass
