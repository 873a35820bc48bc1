"""What the OpenAI API refuses, each by its name and in OpenAI's form."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from services.common.errors import Broken
from tests.unit.endpoint.fake_model import NAME, FakeModel

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
USER = {"role": "user", "content": "Hi"}
ASK = {"model": NAME, "messages": [USER]}
PLAIN = {"model": NAME, "prompt": "Hi"}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


def of_schema(schema: Any, name: str = "wanted") -> dict[str, Any]:
    return {"response_format": {"type": "json_schema", "json_schema": {"name": name, "schema": schema}}}


def wide(fields: int) -> dict[str, Any]:
    return {f"{number}": {} for number in range(fields)}


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    return schema


def refused(answer: Any, status: int, param: str | None, problem: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["param"] == param
    assert problem in error["message"]
    assert "\n" not in error["message"]
    assert error["type"] == ("invalid_request_error" if status < 500 else "server_error")
    return error


@pytest.mark.parametrize(
    ("fields", "param", "problem"),
    [
        ({"model": None}, "model", "valid string"),
        ({"messages": None}, "messages", "valid list"),
        ({"messages": []}, "messages", "at least 1"),
        ({"messages": "Hi"}, "messages", "valid list"),
        ({"messages": ["Hi"]}, "messages[0]", "valid dictionary"),
        ({"messages": [{"content": "Hi"}]}, "messages[0].role", "required"),
        ({"messages": [{"role": "god", "content": "Hi"}]}, "messages[0].role", "'user'"),
        ({"messages": [USER, {"role": "user"}]}, "messages[1]", "its content is missing"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content", "valid string"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
            "messages[0].content",
            "part 0 is no text",
        ),
        ({"messages": [{"role": "user", "content": [5]}]}, "messages[0].content", "part 0 is no text"),
        ({"messages": [{"role": "user", "content": "\ud800"}]}, None, "surrogate"),
        ({"messages": [{"role": "tool", "content": "5"}]}, "messages", "takes no calls of tools"),
        ({"messages": [{"role": "user", "content": "x" * 600}]}, None, "Maximum length exceeded"),
        ({"max_tokens": 600}, None, "Maximum length exceeded"),
        ({"max_tokens": 0}, "max_tokens", "greater than or equal to 1"),
        ({"max_completion_tokens": -1}, "max_completion_tokens", "greater than or equal to 1"),
        ({"max_tokens": 1.5}, "max_tokens", "valid integer"),
        ({"n": 0}, "n", "greater than or equal to 1"),
        ({"n": 129}, "n", "less than or equal to 128"),
        ({"n": 128}, None, "128 answers at once are too many for 80 places"),
        ({"temperature": -1}, "temperature", "must be between 0 and 100"),
        ({"temperature": "hot"}, "temperature", "valid number"),
        ({"top_p": 1.1}, "top_p", "must be between 0 and 1"),
        ({"top_k": -2}, "top_k", "must be between"),
        ({"seed": 2**63}, "seed", "less than"),
        ({"seed": "x"}, "seed", "valid integer"),
        ({"presence_penalty": 3}, "presence_penalty", "must be between -2 and 2"),
        ({"frequency_penalty": -3}, "frequency_penalty", "must be between -2 and 2"),
        ({"repetition_penalty": 0}, "repetition_penalty", "must be between"),
        ({"logit_bias": {"5": 101}}, "logit_bias", "must be between -100 and 100"),
        ({"logit_bias": {"9999": 1}}, "logit_bias", "has tokens 0 to"),
        ({"logit_bias": {"9" * 30: 1}}, f"logit_bias.{'9' * 30}", "valid integer"),
        ({"logit_bias": {"Paris": 1}}, "logit_bias.Paris", "valid integer"),
        ({"logit_bias": [1]}, "logit_bias", "valid dictionary"),
        ({"top_logprobs": 2}, "top_logprobs", "needs logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs", "less than or equal to 20"),
        ({"logprobs": 3}, "logprobs", "valid boolean"),
        ({"stop": ""}, "stop", "each has 1 to 256 letters"),
        ({"stop": ["x"] * 17}, "stop", "at most 16"),
        ({"stop": 5}, "stop", "valid list"),
        ({"stop": [5]}, "stop[0]", "valid string"),
        ({"stream": "yes"}, "stream", "valid boolean"),
        ({"stream_options": 1}, "stream_options", "valid dictionary"),
        ({"tools": [TOOL]}, "tools", "takes none"),
        ({"tools": [{"type": "retrieval"}]}, "tools[0].type", "'function'"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name", "pattern"),
        ({"tool_choice": "required"}, "tool_choice", "not supported"),
        ({"tool_choice": {"type": "function", "function": {"name": "look"}}}, "tool_choice", "not supported"),
        ({"response_format": "json"}, "response_format", "valid dictionary"),
        ({"response_format": {"type": "xml"}}, "response_format.type", "'json_schema'"),
        ({"response_format": {"type": "json_schema"}}, "response_format", "its json_schema is missing"),
        (of_schema([]), "response_format.json_schema.schema", "valid dictionary"),
        (of_schema({}, name="a b"), "response_format.json_schema.name", "pattern"),
        (of_schema({"type": "strange"}), "response_format", "Invalid type: strange"),
        (of_schema({"not": {}}), "response_format", 'Unimplemented keys: ["not"]'),
        (of_schema({"$ref": "https://example.org/x"}), "response_format", "not present"),
        (of_schema({"$ref": "#"}), "response_format", "no answer keeps to the schema"),
        (of_schema(nested(200)), "response_format", "recursion limit"),
        (of_schema({"const": "\ud800"}), "response_format", "hex escape"),
        (of_schema({"const": "x" * 40_000}), "response_format", "32768 are the most"),
        (of_schema({"type": "object", "properties": wide(1500)}), "response_format", "takes too long"),
        (
            {"response_format": {"type": "json_object"}, "tools": [TOOL]},
            "response_format",
            "no room for calls of tools",
        ),
        ({"functions": [{"name": "look"}]}, "functions", "send tools"),
        ({"modalities": ["text", "audio"]}, "modalities", "text alone"),
        ({"audio": {"voice": "x"}}, "audio", "text alone"),
    ],
)
def test_a_chat_is_refused_by_the_name_of_its_field(
    client: TestClient, model: FakeModel, fields: dict[str, Any], param: str | None, problem: str
) -> None:
    for stream in (False, True):
        ask = json.dumps({"stream": stream, **ASK, **fields})
        answer = client.post(CHAT, content=ask, headers={"content-type": "application/json"})
        error = refused(answer, 400, param, problem)
        assert error["code"] == ("context_length_exceeded" if "Maximum" in problem else None)
    assert model.sessions == []


@pytest.mark.parametrize(
    ("fields", "param", "problem"),
    [
        ({"prompt": None}, "prompt", "valid string"),
        ({"prompt": ""}, None, "the text is empty"),
        ({"prompt": []}, "prompt", "1 to 128 answers"),
        ({"prompt": ["x"] * 65, "n": 2}, "prompt", "1 to 128 answers can be asked for, not 130"),
        ({"prompt": [-1]}, None, "each from 0 to"),
        ({"prompt": [[5], []]}, None, "the prompt needs tokens"),
        ({"prompt": [[10**9]]}, None, "each from 0 to"),
        ({"prompt": ["Hi", "x" * 600]}, None, "maximum context length"),
        ({"prompt": ["a", 5]}, "prompt", "valid string"),
        ({"logprobs": True}, "logprobs", "valid integer"),
        ({"logprobs": 21}, "logprobs", "less than or equal to 20"),
        ({"echo": True}, "echo", "not supported"),
        ({"suffix": "end"}, "suffix", "not supported"),
        ({"best_of": 3}, "best_of", "not supported"),
        ({"max_tokens": 0}, "max_tokens", "greater than or equal to 1"),
    ],
)
def test_a_completion_is_refused_by_the_name_of_its_field(
    client: TestClient, model: FakeModel, fields: dict[str, Any], param: str | None, problem: str
) -> None:
    refused(client.post(TEXT, json={**PLAIN, **fields}), 400, param, problem)
    assert model.sessions == []


@pytest.mark.parametrize("body", ["", "{", "[" * 100_000, '{"a":NaN}', "[]", b'{"a": "\xff"}'])
def test_what_is_no_message_is_refused(client: TestClient, body: str | bytes) -> None:
    answer = client.post(CHAT, content=body, headers={"content-type": "application/json"})
    refused(answer, 400, None, "the message is")


def test_another_content_type_is_refused(client: TestClient) -> None:
    refused(client.post(CHAT, data={"model": NAME}), 400, None, "'application/x-www-form-urlencoded'")


def test_a_body_over_the_limit_is_refused(serve: Callable[..., TestClient], model: FakeModel) -> None:
    client = serve(model, max_message_bytes=1024)
    refused(client.post(CHAT, json={**ASK, "user": "x" * 1024}), 413, None, "more than 1024 bytes")


@pytest.mark.parametrize("path", [CHAT, TEXT])
def test_an_unknown_model_is_named(client: TestClient, path: str) -> None:
    answer = client.post(path, json={**ASK, **PLAIN, "model": "gpt-9"})
    assert refused(answer, 404, "model", f"use {NAME}")["code"] == "model_not_found"


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/chat", "/v1/chat/completions/x", "/v1/\u00e9"])
def test_unknown_routes_are_told_in_the_same_form(client: TestClient, method: str, path: str) -> None:
    refused(client.request(method, path), 404, None, "there is no")


@pytest.mark.parametrize(
    ("method", "path", "takes"),
    [
        ("GET", CHAT, "POST"),
        ("DELETE", TEXT, "POST"),
        ("POST", "/v1/models", "GET"),
        ("DELETE", f"/v1/models/{NAME}", "GET"),
    ],
)
def test_wrong_methods_are_told_the_right_one(client: TestClient, method: str, path: str, takes: str) -> None:
    answer = client.request(method, path)
    refused(answer, 405, None, f"send {takes}")
    assert answer.headers["allow"] == takes


def test_a_model_without_a_chat_template(client: TestClient, model: FakeModel) -> None:
    model.tokenizer.chat_template = None
    refused(client.post(CHAT, json=ASK), 400, None, f"model {NAME} has no chat template")
    assert client.post(TEXT, json=PLAIN).status_code == 200


def test_a_template_says_what_it_does_not_take(client: TestClient, model: FakeModel) -> None:
    model.tokenizer.chat_template = "{{ raise_exception('roles must alternate') }}"
    refused(client.post(CHAT, json=ASK), 400, "messages", "roles must alternate")


def test_what_is_broken_is_ours(client: TestClient, model: FakeModel) -> None:
    model.fail_at[1] = Broken("a shard is corrupt", "delete it")
    refused(client.post(CHAT, json=ASK), 500, None, "a shard is corrupt")


def test_no_prompt_comes_back_in_an_error(client: TestClient) -> None:
    secret = {"role": "user", "content": {"text": "my secret prompt"}}
    answer = client.post(CHAT, json={**ASK, "messages": [secret]})
    assert "secret" not in answer.text
