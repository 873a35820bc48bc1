"""``response_format``: whatever a model would like to say, what it says is JSON, and keeps to the schema."""

import json
from collections.abc import Callable, Iterator
from typing import Any, Literal

import jsonschema
import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from openai import OpenAI
from pydantic import BaseModel

from tests.unit.endpoint.fake_model import NAME, Babbler, FakeModel

CHAT = "/v1/chat/completions"
ASK = {"model": NAME, "messages": [{"role": "user", "content": "Hi"}]}
POINT = {
    "type": "object",
    "properties": {
        "x": {"type": "integer", "minimum": -99, "maximum": 99},
        "name": {"type": "string", "maxLength": 5},
    },
    "required": ["x", "name"],
    "additionalProperties": False,
}
FEW = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture
def model() -> FakeModel:
    return Babbler()


def of_schema(schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "wanted", "schema": schema, "strict": True}}


def ask(client: TestClient, schema: Any, **fields: Any) -> Any:
    answer = client.post(CHAT, json={**ASK, "response_format": of_schema(schema), **fields})
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"]


def checked(choice: Any, schema: Any) -> Any:
    """Return what an answer says, which must be whole and keep to the schema."""
    assert choice["finish_reason"] == "stop"
    said = json.loads(choice["message"]["content"])
    jsonschema.validate(said, schema)
    return said


def objects(values: some.SearchStrategy[Any]) -> some.SearchStrategy[Any]:
    fields = some.dictionaries(some.sampled_from(["a", "b", "long name", "ö"]), values, max_size=3)
    return some.builds(
        lambda properties, closed: {
            "type": "object",
            "properties": properties,
            "required": list(properties)[:2],
            **({"additionalProperties": False} if closed else {}),
        },
        fields,
        some.booleans(),
    )


SCHEMAS = some.recursive(
    some.sampled_from(
        [
            {"type": "string", "maxLength": 4},
            {"type": "string", "pattern": "^[a-f]{2,3}$"},
            {"type": "string", "format": "date"},
            {"type": "integer", "minimum": -3, "maximum": 120},
            {"type": "boolean"},
            {"type": "null"},
            {"type": ["boolean", "null"]},
            {"enum": ["red", 5, None, '"quoted"\\']},
            {"const": {"a": [1, "ü"]}},
        ]
    ),
    lambda inner: some.one_of(
        objects(inner),
        some.builds(lambda items: {"type": "array", "items": items, "maxItems": 3}, inner),
        some.builds(lambda one, two: {"anyOf": [one, two]}, inner, inner),
    ),
    max_leaves=4,
)


def test_an_answer_keeps_to_any_schema(client: TestClient) -> None:
    ended = []

    @FEW
    @given(SCHEMAS, some.integers(0, 1000))
    def check(schema: Any, seed: int) -> None:
        (choice,) = ask(client, schema, seed=seed, max_tokens=400)
        ended.append(choice["finish_reason"] == "stop")
        if ended[-1]:
            checked(choice, schema)

    check()
    assert sum(ended) > len(ended) / 2


def test_json_object_is_an_object(client: TestClient) -> None:
    answer = client.post(
        CHAT, json={**ASK, "response_format": {"type": "json_object"}, "max_tokens": 2000, "n": 3}
    )
    for choice in answer.json()["choices"]:
        assert isinstance(checked(choice, {}), dict)


@pytest.mark.parametrize(
    "fields",
    [
        {"temperature": 0},
        {"temperature": 5, "top_k": 3},
        {"top_p": 0.5, "presence_penalty": 2, "frequency_penalty": -2},
        {"repetition_penalty": 3.0},
        {"logprobs": True, "top_logprobs": 3},
    ],
)
def test_however_tokens_are_chosen(client: TestClient, fields: dict[str, Any]) -> None:
    for choice in ask(client, POINT, n=2, **fields):
        checked(choice, POINT)


def test_a_bias_leads_nowhere_else(client: TestClient, model: FakeModel) -> None:
    (letter,) = model.tokenizer("z")["input_ids"]
    (choice,) = ask(client, POINT, logit_bias={letter: 100})
    assert checked(choice, POINT)["name"] == "zzzzz"


def test_many_choices_each_have_a_text_of_their_own(client: TestClient) -> None:
    said = [checked(choice, POINT) for choice in ask(client, POINT, n=4)]
    assert len({json.dumps(one) for one in said}) == 4


def test_what_nothing_can_follow_is_the_end(client: TestClient) -> None:
    answer = client.post(CHAT, json={**ASK, "response_format": of_schema({"const": "yes"})}).json()
    assert answer["choices"][0]["message"]["content"] == '"yes"'
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["usage"]["completion_tokens"] == len('"yes"')


def test_the_limit_of_tokens_cuts_it_off(client: TestClient) -> None:
    (choice,) = ask(client, {"const": "yes"}, max_tokens=3)
    assert (choice["message"]["content"], choice["finish_reason"]) == ('"ye', "length")
    (choice,) = ask(client, {"const": "yes"}, max_tokens=5)
    assert (choice["message"]["content"], choice["finish_reason"]) == ('"yes"', "stop")


def test_spaces_do_not_go_on_for_ever(client: TestClient, model: FakeModel) -> None:
    (space,) = model.tokenizer(" ")["input_ids"]
    (choice,) = ask(
        client, {**POINT, "properties": {"x": {"const": 1}, "name": {"const": "a"}}}, logit_bias={space: 100}
    )
    assert checked(choice, POINT) == {"x": 1, "name": "a"}


def test_guessed_tokens_keep_to_it_too(serve: Callable[..., TestClient]) -> None:
    schema = {"type": "array", "items": {"enum": ["one two"]}, "minItems": 12, "maxItems": 12}
    said, passes = [], []
    for guesses in (0, 8):
        model = FakeModel()
        client = serve(model, speculative_tokens=guesses)
        (choice,) = ask(client, schema, temperature=0)
        said.append(checked(choice, schema))
        passes.append(len(model.sessions[0].steps))
    assert said[0] == said[1]
    assert passes[1] < passes[0] / 2


class Answer(BaseModel):
    """What a user of OpenAI's client writes."""

    mood: Literal["good", "bad"]
    scores: list[int]


@pytest.fixture
def openai(listen: Callable[..., str]) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"http://{listen()}/v1", api_key="none", max_retries=0) as client:
        yield client


def test_the_client_of_openai_reads_its_own_classes(openai: OpenAI) -> None:
    answer = openai.chat.completions.parse(**ASK, response_format=Answer)
    assert isinstance(answer.choices[0].message.parsed, Answer)


def test_a_stream_keeps_to_it(openai: OpenAI) -> None:
    stream = openai.chat.completions.create(**ASK, response_format=of_schema(POINT), stream=True, n=2)
    chunks = [chunk.choices[0] for chunk in stream]
    for index in range(2):
        mine = [one for one in chunks if one.index == index]
        jsonschema.validate(json.loads("".join(one.delta.content or "" for one in mine)), POINT)
        assert [one.finish_reason for one in mine if one.finish_reason] == ["stop"]


KEYWORDS = some.sampled_from(
    [
        *(
            "type",
            "properties",
            "items",
            "$ref",
            "$defs",
            "anyOf",
            "allOf",
            "oneOf",
            "enum",
            "const",
            "pattern",
        ),
        *(
            "required",
            "minimum",
            "maxItems",
            "minLength",
            "format",
            "additionalProperties",
            "not",
            "x-guidance",
        ),
    ]
)
VALUES = some.sampled_from(
    [
        "string",
        "object",
        "array",
        "#",
        "#/$defs/a",
        "(",
        "(a{999}){999}",
        "date",
        -1,
        10**30,
        1e300,
        0.5,
        None,
        True,
    ]
)
NONSENSE = some.recursive(
    VALUES, lambda inner: some.dictionaries(KEYWORDS, inner) | some.lists(inner, max_size=3), max_leaves=12
)


def test_no_schema_breaks_it(client: TestClient) -> None:
    @settings(FEW, max_examples=150)
    @given(some.dictionaries(KEYWORDS, NONSENSE, max_size=4))
    def check(schema: Any) -> None:
        body = {**ASK, "response_format": of_schema(schema), "max_tokens": 4}
        answer = client.post(CHAT, json=body)
        assert answer.status_code in {200, 400}, answer.text
        if answer.status_code == 400:
            assert answer.json()["error"]["param"] == "response_format"

    check()
