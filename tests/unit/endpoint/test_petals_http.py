"""POST /api/v1/generate: the same answer for form and JSON, and for every mistake a status and one line."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from services.common.errors import Broken, Unavailable
from tests.unit.endpoint.fake_model import NAME, FakeModel

PATH = "/api/v1/generate"
ASK = {"model": NAME, "inputs": "Hi", "max_new_tokens": 4}
ANSWER = {"ok": True, "outputs": "Once", "stop": True, "token_count": 4, "stop_reason": "length"}


def refused(answer: Any, status: int, problem: str) -> None:
    body = answer.json()
    assert answer.status_code == status, body
    assert body["ok"] is False
    assert problem in body["error"]
    assert body["traceback"] == body["error"]
    assert "\n" not in body["error"]


def test_json(client: TestClient) -> None:
    answer = client.post(PATH, json=ASK)
    assert (answer.status_code, answer.json()) == (200, ANSWER)


def test_form(client: TestClient) -> None:
    answer = client.post(PATH, data={**ASK, "do_sample": "0", "temperature": "0.5", "top_k": "5"})
    assert (answer.status_code, answer.json()) == (200, ANSWER)


def test_a_form_of_curl(client: TestClient) -> None:
    """``curl -d`` sends this content type, and several ``-d`` are joined by "&"."""
    headers = {"content-type": "application/x-www-form-urlencoded"}
    body = f"model={NAME}&inputs=Once upon a time,&max_new_tokens=4"
    assert client.post(PATH, content=body, headers=headers).json() == ANSWER


def test_fields_in_the_address(client: TestClient) -> None:
    assert client.post(PATH, params=ASK).json() == ANSWER
    assert client.post(PATH, params=ASK, data={"max_new_tokens": "9"}).json() == ANSWER
    refused(client.post(f"{PATH}?inputs=%FF"), 400, "not URL-encoded UTF-8")


def test_stop_sequences_of_a_form(client: TestClient) -> None:
    fields = {"inputs": "Hi", "max_new_tokens": "40", "extra_stop_sequences": ["zzz", "upon"]}
    answer = client.post(PATH, data=fields).json()
    assert (answer["outputs"], answer["stop_reason"]) == ("Once upon", "stop_sequence")


def test_the_session_is_as_long_as_needed_and_freed(
    serve: Callable[..., TestClient], model: FakeModel
) -> None:
    serve(model).post(PATH, json=ASK)
    assert model.sessions[0].max_length == 6
    assert model.sessions[0].closed.wait(20)


def test_max_length_counts_the_prompt(client: TestClient) -> None:
    answer = client.post(PATH, json={"inputs": "Hi", "max_length": 7}).json()
    assert (answer["outputs"], answer["token_count"]) == ("Once ", 5)


def test_a_seed_makes_sampling_repeatable(client: TestClient) -> None:
    ask = {**ASK, "do_sample": True, "temperature": 90.0, "seed": 5, "max_new_tokens": 30}
    texts = {client.post(PATH, json=ask).json()["outputs"] for _ in range(3)}
    assert len(texts) == 1
    assert texts != {"Once upon a time."}


def test_an_unknown_model_is_told_what_is_served(client: TestClient) -> None:
    refused(client.post(PATH, json={**ASK, "model": "gpt-9"}), 404, f"use {NAME}")


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"inputs": ""}, "the text is empty"),
        ({"inputs": None}, "nothing to continue"),
        ({"inputs": "x" * 600}, "Maximum length exceeded"),
        ({"max_new_tokens": 100000}, "Maximum length exceeded"),
        ({"max_new_tokens": None}, "either max_length or max_new_tokens; neither is given"),
        ({"max_length": 10}, "either max_length or max_new_tokens; both are given"),
        ({"max_new_tokens": 0}, "max_new_tokens: must be at least 1"),
        ({"max_new_tokens": -3}, "max_new_tokens: must be at least 1"),
        ({"max_new_tokens": 10**40}, "Maximum length exceeded"),
        ({"max_new_tokens": None, "max_length": 513}, "Maximum length exceeded"),
        ({"max_new_tokens": "many"}, "max_new_tokens: input should be a valid integer"),
        ({"max_new_tokens": 1.5}, "max_new_tokens: input should be a valid integer"),
        ({"max_new_tokens": True}, "max_new_tokens: input should be a valid integer"),
        ({"max_new_tokens": [4]}, "max_new_tokens: input should be a valid integer"),
        ({"inputs": 5}, "inputs: input should be a valid string"),
        ({"inputs": ["a", "b"]}, "inputs: input should be a valid string"),
        ({"inputs": {"text": "a"}}, "inputs: input should be a valid string"),
        ({"model": 7}, "model: input should be a valid string"),
        ({"do_sample": "yes"}, "do_sample: "),
        ({"do_sample": 2}, "do_sample: "),
        ({"temperature": -1}, "temperature: must be between 0 and 100"),
        ({"temperature": "warm"}, "temperature: input should be a valid number"),
        ({"top_k": -1}, "top_k: must be between"),
        ({"top_p": 2}, "top_p: must be between"),
        ({"repetition_penalty": 0}, "repetition_penalty: must be between"),
        ({"stop_sequence": ""}, "stop sequences"),
        ({"extra_stop_sequences": "ab"}, "extra_stop_sequences: input should be a valid list"),
        ({"extra_stop_sequences": [1]}, "extra_stop_sequences[0]: input should be a valid string"),
        ({"extra_stop_sequences": ["a"] * 99}, "stop sequences: at most 16"),
    ],
)
def test_a_wrong_value_is_the_callers_mistake(
    client: TestClient, model: FakeModel, fields: dict[str, Any], problem: str
) -> None:
    ask = {name: value for name, value in {**ASK, **fields}.items() if value is not None}
    refused(client.post(PATH, json=ask), 400, problem)
    assert model.sessions == []
    assert client.post(PATH, json=ASK).json() == ANSWER


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ('{"inputs": "x"', "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"a":' * 100_000, "not JSON"),
        ('{"inputs": "x", "temperature": NaN, "max_new_tokens": 1}', "not JSON"),
        ('{"inputs": "x", "temperature": Infinity, "max_new_tokens": 1}', "not JSON"),
        ('{"inputs": "x", "temperature": 1e999, "max_new_tokens": 1}', "temperature: must be between"),
        ('{"inputs": "x", "max_new_tokens": ' + "9" * 5000 + "}", "not JSON"),
        ('{"inputs": "\\ud800", "max_new_tokens": 1}', "surrogate"),
        ('{"inputs": "x", "stop_sequence": "\\udfff", "max_new_tokens": 1}', "surrogate"),
        (b'{"inputs": "\xff\xfe", "max_new_tokens": 1}', "not JSON"),
        (b"\x00\x01\x02", "not JSON"),
        ("[]", "no object"),
        ('"text"', "no object"),
        ("null", "no object"),
    ],
)
def test_what_is_no_message_is_the_callers_mistake(
    client: TestClient, body: str | bytes, problem: str
) -> None:
    refused(client.post(PATH, content=body, headers={"content-type": "application/json"}), 400, problem)
    assert client.post(PATH, json=ASK).json() == ANSWER


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"inputs=%FF&max_new_tokens=1", "not URL-encoded UTF-8"),
        (b"\xff\xfe", "not URL-encoded UTF-8"),
        (b"a=1&" * 200, "not URL-encoded UTF-8"),
        (b"inputs=x&max_new_tokens=two", "max_new_tokens: "),
        (b"inputs=x&max_new_tokens=1&temperature=nan", "temperature: must be between"),
        (b"inputs=x&max_new_tokens=1&do_sample=maybe", "do_sample: "),
        (b"", "either max_length or max_new_tokens"),
    ],
)
def test_a_wrong_form_is_the_callers_mistake(client: TestClient, body: bytes, problem: str) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded"}
    refused(client.post(PATH, content=body, headers=headers), 400, problem)


def test_another_content_type_is_the_callers_mistake(client: TestClient) -> None:
    refused(client.post(PATH, content=b"x", headers={"content-type": "text/xml"}), 400, "'text/xml'")
    refused(client.post(PATH, files={"inputs": b"x"}), 400, "'multipart/form-data'")


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_over_the_limit_is_too_large(
    serve: Callable[..., TestClient], model: FakeModel, declared: bool
) -> None:
    client = serve(model, max_message_bytes=2000)
    body = json.dumps({**ASK, "inputs": "x" * 3000}).encode()
    content = body if declared else iter([body[:1000], body[1000:]])
    answer = client.post(PATH, content=content, headers={"content-type": "application/json"})
    refused(answer, 413, "more than 2000 bytes")
    assert client.post(PATH, json=ASK).json() == ANSWER


def test_missing_blocks_are_unavailable_and_the_next_request_works(
    client: TestClient, model: FakeModel
) -> None:
    model.fail_at[2] = Unavailable("no server for blocks 3:9", "wait for one")
    answer = client.post(PATH, json=ASK)
    refused(answer, 503, "no server for blocks 3:9 — wait for one")
    assert int(answer.headers["retry-after"]) > 0
    assert client.post(PATH, json=ASK).json() == ANSWER


def test_out_of_time_is_unavailable(serve: Callable[..., TestClient], model: FakeModel) -> None:
    client = serve(model, request_timeout=1e-9)
    answer = client.post(PATH, json=ASK)
    refused(answer, 503, "took longer than")
    assert "retry-after" in answer.headers


def test_what_is_broken_is_ours(client: TestClient, model: FakeModel) -> None:
    model.fail_at[1] = Broken("a shard is corrupt", "delete it")
    refused(client.post(PATH, json=ASK), 500, "a shard is corrupt")


def test_the_unexpected_is_told_and_logged_without_its_text(
    client: TestClient, model: FakeModel, caplog: pytest.LogCaptureFixture
) -> None:
    model.fail_at[1] = ValueError("inside: my secret prompt")
    answer = client.post(PATH, json=ASK)
    refused(answer, 500, "the endpoint failed unexpectedly (ValueError)")
    (record,) = [record for record in caplog.records if record.message == "request failed unexpectedly"]
    assert record.kind == "ValueError"
    assert "fake_model.py" in record.where
    assert not any("secret" in text for text in [answer.text, *(str(vars(one)) for one in caplog.records)])


def test_a_page_of_another_origin_is_kept_out(serve: Callable[..., TestClient], model: FakeModel) -> None:
    client = serve(model, allowed_origins=["https://friend.example"])
    for origin in ("https://evil.example", "null", "https://testserver.evil.example"):
        answer = client.post(PATH, json=ASK, headers={"origin": origin})
        assert answer.status_code == 403
        assert "CALYX_ALLOWED_ORIGINS" in answer.text
    client.headers["host"] = "localhost:8000"
    for origin in ("http://localhost:8000", "https://friend.example"):
        answer = client.post(PATH, json=ASK, headers={"origin": origin})
        assert answer.status_code == 200
        assert "access-control-allow-origin" not in answer.headers
    assert len(model.sessions) == 2


@pytest.mark.parametrize("host", ["evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example"])
def test_a_page_whose_name_was_pointed_to_this_machine_is_kept_out(client: TestClient, host: str) -> None:
    answer = client.post(PATH, json=ASK, headers={"host": host, "origin": f"http://{host}"})
    assert answer.status_code == 403


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8000", "127.0.0.1:8000", "[::1]:8000", "10.42.0.1:8000"]
)
def test_a_page_of_the_endpoint_itself_may_call_it(client: TestClient, host: str) -> None:
    answer = client.post(PATH, json=ASK, headers={"host": host, "origin": f"http://{host}"})
    assert answer.status_code == 200
