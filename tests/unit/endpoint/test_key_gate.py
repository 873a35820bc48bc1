"""API keys over HTTP and WebSocket: who is refused, how it is told, and what needs no key."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from starlette.testclient import WebSocketDenialResponse

from services.endpoint.access.__main__ import run
from services.endpoint.access.keys import KeyFile
from tests.unit.endpoint.fake_model import NAME, FakeModel
from tests.unit.endpoint.talk import OPEN, PATH, generate, refused, say

POST = "/api/v1/generate"
ASK = {"inputs": "Hi", "max_new_tokens": 4}


@pytest.fixture
def file(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path / "keys.json")


@pytest.fixture
def create(file: KeyFile) -> Callable[..., dict[str, str]]:
    """Makes a key with these options and returns the headers that carry it."""

    def make(*options: str) -> dict[str, str]:
        return {"authorization": f"Bearer {run(['create', 'phone', *options], file, 0)['key']}"}

    return make


@pytest.fixture
def client(serve: Callable[..., TestClient], model: FakeModel, tmp_path: Path) -> TestClient:
    return serve(model, keys_file=tmp_path / "keys.json")


def refused_with(answer: Any, status: int, problem: str) -> None:
    assert answer.status_code == status, answer.text
    refused(answer.json(), problem)


def test_a_key_is_asked_for_once_there_is_one(
    client: TestClient, create: Callable[..., dict[str, str]]
) -> None:
    assert client.post(POST, json=ASK).status_code == 200
    key = create()

    answer = client.post(POST, json=ASK)

    refused_with(answer, 401, "the endpoint asks for an API key")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert client.post(POST, json=ASK, headers=key).json()["outputs"] == "Once"
    refused_with(client.post(POST, json=ASK, headers={"authorization": "Bearer no"}), 401, "not valid")


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_whether_it_works_is_told_to_everybody(
    client: TestClient, create: Callable[..., dict[str, str]], path: str
) -> None:
    create()

    assert client.get(path).status_code == 200


@pytest.mark.parametrize(
    "path", ["/api/v1/generate", "/nothing", "/healthz/", "/staticx", "/v1", "/static", "/%2e/healthz"]
)
def test_nothing_else_is(client: TestClient, create: Callable[..., dict[str, str]], path: str) -> None:
    create()

    assert client.get(path).status_code == 401


def test_below_v1_a_refusal_is_in_the_form_of_openai(
    client: TestClient, create: Callable[..., dict[str, str]]
) -> None:
    create()

    answer = client.get("/v1/models")

    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "invalid_api_key"
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert answer.json()["error"]["message"].startswith("the endpoint asks for an API key")


def test_too_many_requests_are_told_when_to_come_again(
    client: TestClient, create: Callable[..., dict[str, str]]
) -> None:
    key = create("--requests-per-minute", "1")
    assert client.post(POST, json=ASK, headers=key).status_code == 200

    answer = client.post(POST, json=ASK, headers=key)

    refused_with(answer, 429, "1 requests per minute")
    assert 0 < int(answer.headers["retry-after"]) <= 60
    below_v1 = client.get("/v1/models", headers=key)
    assert (below_v1.status_code, below_v1.json()["error"]["code"]) == (429, "rate_limit_exceeded")


def test_nothing_reads_the_body_of_who_is_not_let_in(
    client: TestClient, create: Callable[..., dict[str, str]]
) -> None:
    create()

    assert client.post(POST, content=b"x" * 2_000_000).status_code == 401


def test_a_broken_file_refuses_everybody(
    client: TestClient, create: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    key = create()
    (tmp_path / "keys.json").write_text("[]")

    refused_with(client.post(POST, json=ASK, headers=key), 503, "API keys cannot be checked")
    assert client.get("/healthz").status_code == 200


def denied(client: TestClient, **options: Any) -> Any:
    with pytest.raises(WebSocketDenialResponse) as caught, client.websocket_connect(PATH, **options):
        pytest.fail("connected")
    return caught.value


def test_a_websocket_needs_a_key_before_it_opens(
    client: TestClient, create: Callable[..., dict[str, str]], model: FakeModel
) -> None:
    key = create()

    refused_with(denied(client), 401, "the endpoint asks for an API key")
    with client.websocket_connect(PATH, headers=key) as socket:
        assert say(socket, **OPEN) == {"ok": True}
        assert generate(socket, inputs="Hi", max_new_tokens=4)["outputs"] == "Once"


def test_a_browser_sends_its_key_as_a_subprotocol(
    client: TestClient, create: Callable[..., dict[str, str]]
) -> None:
    key = create()["authorization"].removeprefix("Bearer ")

    with client.websocket_connect(PATH, subprotocols=["calyx", f"calyx.key.{key}"]) as socket:
        assert socket.accepted_subprotocol == "calyx"
        assert say(socket, **OPEN) == {"ok": True}
    refused_with(denied(client, subprotocols=["calyx", "calyx.key.wrong"]), 401, "not valid")


def test_an_address_carries_no_key(client: TestClient, create: Callable[..., dict[str, str]]) -> None:
    """It would be in the logs of every proxy on the way."""
    key = create()["authorization"].removeprefix("Bearer ")

    assert client.post(f"{POST}?api_key={key}", json=ASK).status_code == 401


def test_connections_are_limited_and_their_place_is_given_back(
    client: TestClient, create: Callable[..., dict[str, str]]
) -> None:
    key = create("--concurrency", "1")
    with client.websocket_connect(PATH, headers=key) as socket:
        say(socket, **OPEN)
        refused_with(denied(client, headers=key), 429, "used 1 times at once")
        refused_with(client.post(POST, json=ASK, headers=key), 429, "used 1 times at once")
    assert client.post(POST, json=ASK, headers=key).status_code == 200


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi"}], "n": 3}),
        ("/v1/completions", {"prompt": ["Hi", "Ho", "He"], "stream": True}),
    ],
)
def test_each_of_several_answers_takes_a_place(
    client: TestClient, create: Callable[..., dict[str, str]], path: str, fields: dict[str, Any]
) -> None:
    key = create("--concurrency", "3")
    ask = {"model": NAME, **fields}
    with client.websocket_connect(PATH, headers=key):
        answer = client.post(path, json=ask, headers=key)
        assert (answer.status_code, answer.json()["error"]["code"]) == (429, "rate_limit_exceeded")
    assert client.post(path, json=ask, headers=key).status_code == 200
    assert client.post(path, json=ask, headers=key).status_code == 200
    more = {**ask, "n": 4}
    answer = client.post(path, json=more, headers=key)
    assert answer.status_code == 400
    assert "is good for 3 answers at once" in answer.json()["error"]["message"]


def test_each_answer_over_a_websocket_is_a_request(
    client: TestClient, create: Callable[..., dict[str, str]]
) -> None:
    key = create("--requests-per-minute", "2")
    with client.websocket_connect(PATH, headers=key) as socket:
        say(socket, **OPEN)
        assert generate(socket, inputs="Hi", max_new_tokens=4)["ok"]
        assert generate(socket, inputs="Hi", max_new_tokens=4)["ok"]
        refused(generate(socket, inputs="Hi", max_new_tokens=4), "2 requests per minute")
        refused(say(socket, **OPEN), "a session is open already")


def test_a_key_that_is_revoked_gets_no_further_answer(
    client: TestClient, create: Callable[..., dict[str, str]], file: KeyFile
) -> None:
    with client.websocket_connect(PATH, headers=create()) as socket:
        say(socket, **OPEN)
        run(["revoke", "phone"], file, 0)
        refused(generate(socket, inputs="Hi", max_new_tokens=4), "the API key is not valid")


def test_no_log_holds_a_key(
    client: TestClient, create: Callable[..., dict[str, str]], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    header = create()
    key = header["authorization"].removeprefix("Bearer ")
    client.post(POST, json={"model": NAME, **ASK}, headers=header)
    with client.websocket_connect(PATH, subprotocols=["calyx", f"calyx.key.{key}"]):
        pass

    logged = [
        json.dumps(vars(one), default=str) for one in caplog.records if not one.name.startswith("httpx")
    ]
    assert any("API keys were read" in line for line in logged)
    assert not any(key in line for line in logged)
