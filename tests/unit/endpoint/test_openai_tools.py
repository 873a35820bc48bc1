"""Calls of tools: what the model is told about tools, and what becomes of the calls that it writes."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from openai import OpenAI

from services.endpoint.openai.tool_calls import FoundCall, ToolCallReader
from tests.unit.endpoint.fake_model import CHAT_TEMPLATE, NAME, FakeModel

LOOK = {
    "type": "function",
    "function": {
        "name": "look",
        "description": "Looks at a place.",
        "parameters": {"type": "object", "properties": {"place": {"type": "string"}}},
    },
}
TEMPLATE = (
    "{% if tools %}<tools>{% for tool in tools %}{{ tool | tojson }}{% endfor %}</tools>{% endif %}"
    "{% for message in messages if message.tool_calls %}"
    "{{ message.tool_calls[0].function.arguments.place }}{% endfor %}" + CHAT_TEMPLATE
)
CALL = '<tool_call>\n{"name": "look", "arguments": {"place": "Paris"}}\n</tool_call>'
QUESTION = [{"role": "user", "content": "Hi"}]


@pytest.fixture
def model() -> FakeModel:
    model = FakeModel(f"Let me see.\n{CALL}\n{CALL}")
    model.tokenizer.chat_template = TEMPLATE
    return model


@pytest.fixture
def client(listen: Callable[..., str]) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"http://{listen()}/v1", api_key="none", max_retries=0) as client:
        yield client


def ask(client: OpenAI, **fields: Any) -> Any:
    return client.chat.completions.create(**{"model": NAME, "messages": QUESTION, "tools": [LOOK], **fields})


def read(model: FakeModel) -> str:
    return model.tokenizer.decode(model.sessions[0].steps[0])


def test_the_model_reads_about_the_tools(client: OpenAI, model: FakeModel) -> None:
    ask(client)
    told = read(model).partition("<tools>")[2].partition("</tools>")[0]
    assert json.loads(told) == LOOK


def test_calls_are_told_apart_from_the_text(client: OpenAI) -> None:
    (choice,) = ask(client).choices
    assert choice.message.content == "Let me see."
    assert choice.finish_reason == "tool_calls"
    functions = [call.function for call in choice.message.tool_calls]
    assert [(one.name, json.loads(one.arguments)) for one in functions] == [("look", {"place": "Paris"})] * 2
    assert len({call.id for call in choice.message.tool_calls}) == 2


def test_calls_in_a_stream(client: OpenAI) -> None:
    choices = [chunk.choices[0] for chunk in ask(client, stream=True)]
    assert "".join(choice.delta.content or "" for choice in choices) == "Let me see."
    calls = [call for choice in choices for call in choice.delta.tool_calls or []]
    assert [(call.index, call.function.name) for call in calls] == [(0, "look"), (1, "look")]
    assert choices[-1].finish_reason == "tool_calls"


def test_one_call_may_be_the_most(client: OpenAI) -> None:
    (choice,) = ask(client, parallel_tool_calls=False).choices
    assert len(choice.message.tool_calls) == 1


@pytest.mark.parametrize("fields", [{"tool_choice": "none"}, {"tools": []}])
def test_without_tools_a_call_is_text(client: OpenAI, model: FakeModel, fields: dict[str, Any]) -> None:
    (choice,) = ask(client, **fields).choices
    assert choice.message.content == f"Let me see.\n{CALL}\n{CALL}"
    assert (choice.message.tool_calls, choice.finish_reason) == (None, "stop")
    assert "<tools>" not in read(model)


def test_a_call_that_the_limit_cut_is_text(client: OpenAI) -> None:
    (choice,) = ask(client, max_tokens=40).choices
    assert choice.message.content == f"Let me see.\n{CALL}"[:40]
    assert choice.finish_reason == "length"


def test_what_a_tool_answered_goes_back(client: OpenAI, model: FakeModel) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "look", "arguments": '{"place": "Rome"}'}}
    messages = [
        *QUESTION,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "Sunny."},
    ]
    ask(client, messages=messages)
    assert "</tools>Rome<|im_start|>" in read(model)
    assert "<|im_start|>tool\nSunny.<|im_end|>" in read(model)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("Hi there", ["Hi there"]),
        (" \n", [" \n"]),
        (f"{CALL}\n", [FoundCall("look", '{"place": "Paris"}')]),
        (f"a {CALL} b", ["a", FoundCall("look", '{"place": "Paris"}'), " b"]),
        ('<tool_call>{"name": "go"}', [FoundCall("go", "{}")]),
        ('<tool_call>{"name": "go", "arguments": "{}"}</tool_call>', [FoundCall("go", "{}")]),
        ("a<tool_call>no JSON</tool_call>b", ["a", "<tool_call>no JSON</tool_call>", "b"]),
        ("a <tool_call>[1]", ["a", " <tool_call>[1]"]),
        ("1 < 2 <tool", ["1 < 2", " <tool"]),
        ("<tool_call>" + "[" * 100_000, ["<tool_call>" + "[" * 100_000]),
    ],
)
def test_the_reader_of_calls(text: str, parts: list[str | FoundCall]) -> None:
    reader = ToolCallReader()
    assert reader.push(text) + reader.finish() == parts


@pytest.mark.parametrize("size", [1, 2, 7])
def test_it_reads_the_same_from_pieces_and_shows_nothing_of_a_call(size: int) -> None:
    text = f"1 < 2,\n <tools> {CALL}\n\n{CALL} end"
    reader = ToolCallReader()
    parts = [part for start in range(0, len(text), size) for part in reader.push(text[start : start + size])]
    parts += reader.finish()
    assert "".join(part for part in parts if isinstance(part, str)) == "1 < 2,\n <tools> end"
    assert [part for part in parts if isinstance(part, FoundCall)] == [
        FoundCall("look", '{"place": "Paris"}')
    ] * 2
