"""Chats over the OpenAI API: what the real client sends and reads."""

from collections.abc import Callable, Iterator

import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletionChunk

from tests.unit.endpoint.fake_model import NAME, FakeModel

QUESTION = [{"role": "user", "content": "Tell me"}]
PROMPT = "<|im_start|>user\nTell me<|im_end|>\n<|im_start|>assistant\n"


@pytest.fixture
def client(listen: Callable[..., str]) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"http://{listen()}/v1", api_key="none", max_retries=0) as client:
        yield client


def ask(client: OpenAI, **fields):
    return client.chat.completions.create(model=NAME, messages=QUESTION, **fields)


def text_of(chunks: list[ChatCompletionChunk]) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def test_a_whole_answer(client: OpenAI, model: FakeModel) -> None:
    answer = ask(client)
    assert answer.object == "chat.completion"
    assert answer.model == NAME
    (choice,) = answer.choices
    assert (choice.message.role, choice.message.content) == ("assistant", "Once upon a time.")
    assert (choice.finish_reason, choice.index, choice.logprobs) == ("stop", 0, None)
    prompt = len(model.tokenizer(PROMPT)["input_ids"])
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (prompt, 18)
    assert answer.usage.total_tokens == prompt + 18
    assert model.tokenizer.decode(model.sessions[0].steps[0]) == PROMPT


def test_a_stream(client: OpenAI) -> None:
    chunks = list(ask(client, stream=True))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert text_of(chunks) == "Once upon a time."
    assert len(chunks) == 1 + 17 + 1
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None] * 18 + ["stop"]
    assert len({chunk.id for chunk in chunks}) == 1
    assert all(chunk.object == "chat.completion.chunk" and chunk.usage is None for chunk in chunks)


async def test_the_asynchronous_client(listen: Callable[..., str]) -> None:
    async with AsyncOpenAI(base_url=f"http://{listen()}/v1", api_key="none") as client:
        stream = await client.chat.completions.create(model=NAME, messages=QUESTION, stream=True)
        assert text_of([chunk async for chunk in stream]) == "Once upon a time."
