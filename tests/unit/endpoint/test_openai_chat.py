"""Chats over the OpenAI API: what the real client sends and reads."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from openai import AsyncOpenAI, NotFoundError, OpenAI
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from tests.unit.endpoint.fake_model import NAME, FakeModel

QUESTION = [{"role": "user", "content": "Tell me"}]
PROMPT = "<|im_start|>user\nTell me<|im_end|>\n<|im_start|>assistant\n"
TEXT = "Once upon a time."


@pytest.fixture
def client(listen: Callable[..., str]) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"http://{listen()}/v1", api_key="none", max_retries=0) as client:
        yield client


def ask(client: OpenAI, **fields: Any) -> Any:
    return client.chat.completions.create(**{"model": NAME, "messages": QUESTION, **fields})


def said(answer: ChatCompletion) -> str | None:
    return answer.choices[0].message.content


def text_of(chunks: list[ChatCompletionChunk], index: int = 0) -> str:
    choices = [choice for chunk in chunks for choice in chunk.choices if choice.index == index]
    return "".join(choice.delta.content or "" for choice in choices)


def read(model: FakeModel, session: int = 0) -> str:
    """Return what the model read before it answered."""
    return model.tokenizer.decode(model.sessions[session].steps[0])


def test_a_whole_answer(client: OpenAI, model: FakeModel) -> None:
    answer = ask(client)
    assert (answer.object, answer.model) == ("chat.completion", NAME)
    (choice,) = answer.choices
    assert (choice.message.role, choice.message.content) == ("assistant", TEXT)
    assert (choice.finish_reason, choice.index, choice.logprobs) == ("stop", 0, None)
    prompt = len(model.tokenizer(PROMPT)["input_ids"])
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (prompt, 18)
    assert answer.usage.total_tokens == prompt + 18
    assert read(model) == PROMPT


def test_a_stream(client: OpenAI) -> None:
    chunks = list(ask(client, stream=True))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert text_of(chunks) == TEXT
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None] * 18 + ["stop"]
    assert len({chunk.id for chunk in chunks}) == 1
    assert all(chunk.object == "chat.completion.chunk" and chunk.usage is None for chunk in chunks)


def test_the_usage_of_a_stream_comes_last_when_asked_for(client: OpenAI, model: FakeModel) -> None:
    *chunks, last = ask(client, stream=True, n=2, stream_options={"include_usage": True})
    assert all(chunk.usage is None and chunk.choices for chunk in chunks)
    assert last.choices == []
    prompt = len(model.tokenizer(PROMPT)["input_ids"])
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (prompt, 36)


async def test_the_asynchronous_client(listen: Callable[..., str]) -> None:
    async with AsyncOpenAI(base_url=f"http://{listen()}/v1", api_key="none") as client:
        stream = await client.chat.completions.create(model=NAME, messages=QUESTION, stream=True)
        assert text_of([chunk async for chunk in stream]) == TEXT


def test_the_models_that_are_listed_are_those_that_answer(client: OpenAI) -> None:
    listed = client.models.list().data
    assert [model.id for model in listed] == [NAME]
    for model in listed:
        assert client.models.retrieve(model.id) == model
        assert said(ask(client, model=model.id)) == TEXT
    with pytest.raises(NotFoundError):
        client.models.retrieve("gpt-9")
    with pytest.raises(NotFoundError, match="not served here"):
        ask(client, model="gpt-9")


def test_contents_may_be_parts(client: OpenAI, model: FakeModel) -> None:
    parts = [{"type": "text", "text": "Tell"}, {"type": "text", "text": "me"}]
    ask(client, messages=[{"role": "user", "content": parts}])
    assert "user\nTell\nme<" in read(model)


def test_a_developer_is_a_system_where_the_template_knows_none(client: OpenAI, model: FakeModel) -> None:
    messages = [{"role": "developer", "content": "Rhyme."}, *QUESTION]
    ask(client, messages=messages)
    assert read(model).startswith("<|im_start|>system\nRhyme.<|im_end|>")
    model.tokenizer.chat_template += "{# developer #}"
    ask(client, messages=messages)
    assert read(model, 1).startswith("<|im_start|>developer\nRhyme.<|im_end|>")


def test_the_last_message_can_be_continued(client: OpenAI, model: FakeModel) -> None:
    messages = [*QUESTION, {"role": "assistant", "content": "Well, "}]
    ask(client, messages=messages, extra_body={"continue_final_message": True})
    assert read(model).endswith("<|im_start|>assistant\nWell, ")


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_a_limit_of_tokens(client: OpenAI, model: FakeModel, field: str) -> None:
    answer = ask(client, **{field: 4})
    assert (said(answer), answer.choices[0].finish_reason) == ("Once", "length")
    assert model.sessions[0].max_length == len(model.sessions[0].steps[0]) + 4


@pytest.mark.parametrize("limit", [10, 10_000])
def test_without_one_there_is_a_default_within_the_models_room(
    listen: Callable[..., str], model: FakeModel, limit: int
) -> None:
    with OpenAI(base_url=f"http://{listen(answer_tokens=limit)}/v1", api_key="none") as client:
        answer = ask(client)
    room = min(len(model.sessions[0].steps[0]) + limit, model.max_length)
    assert model.sessions[0].max_length == room
    assert answer.choices[0].finish_reason == ("length" if limit == 10 else "stop")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("stop", "text"),
    [(" upon", "Once"), (["zzz", "n a t", "pon a "], "Once u"), ("a thyme", TEXT), ("O", "")],
)
def test_a_stop_string_is_never_sent(client: OpenAI, stream: bool, stop: str | list[str], text: str) -> None:
    answer = ask(client, stop=stop, stream=stream)
    if stream:
        chunks = list(answer)
        assert text_of(chunks) == text
        assert chunks[-1].choices[0].finish_reason == "stop"
    else:
        assert (said(answer), answer.choices[0].finish_reason) == (text, "stop")


def test_sampling_is_the_default_and_zero_is_greedy(client: OpenAI, model: FakeModel) -> None:
    model.peak = 3.0
    assert len({said(ask(client, max_tokens=17)) for _ in range(3)}) == 3
    assert {said(ask(client, max_tokens=17, temperature=0)) for _ in range(3)} == {TEXT}
    assert said(ask(client, max_tokens=17, extra_body={"top_k": 1})) == TEXT
    assert said(ask(client, max_tokens=17, top_p=0.01)) == TEXT


def test_the_same_seed_says_the_same(client: OpenAI, model: FakeModel) -> None:
    model.peak = 3.0

    def texts(seed: int) -> list[str | None]:
        return [choice.message.content for choice in ask(client, seed=seed, n=3, max_tokens=17).choices]

    first = texts(5)
    assert texts(5) == first
    assert len(set(first)) == 3
    assert said(ask(client, seed=5, max_tokens=17)) == first[0]
    assert set(texts(-5)).isdisjoint(first)


@pytest.mark.parametrize("stream", [False, True])
def test_many_choices_get_through_few_places(listen: Callable[..., str], stream: bool) -> None:
    with OpenAI(base_url=f"http://{listen(max_running=2)}/v1", api_key="none", timeout=60) as client:
        answer = ask(client, n=9, stream=stream)
        if stream:
            chunks = list(answer)
            texts = [text_of(chunks, index) for index in range(9)]
        else:
            assert [choice.index for choice in answer.choices] == list(range(9))
            texts = [choice.message.content for choice in answer.choices]
    assert texts == [TEXT] * 9


def test_biases_and_penalties(client: OpenAI, model: FakeModel) -> None:
    (letter,) = model.tokenizer("O")["input_ids"]
    (other,) = model.tokenizer("z")["input_ids"]
    assert said(ask(client, logit_bias={str(letter): -100}, max_tokens=1)) != "O"
    assert said(ask(client, logit_bias={str(other): 100}, max_tokens=3)) == "zzz"
    model.peak = 1.5
    twice = {
        "temperature": 0,
        "max_tokens": 7,
    }  # "Once up": the sixth letter but one is the first to come again
    model.script = model.tokenizer("aaaaaaa")["input_ids"]
    assert said(ask(client, **twice)) == "aaaaaaa"
    assert str(said(ask(client, **twice, presence_penalty=2.0))).count("a") == 1
    assert str(said(ask(client, **twice, frequency_penalty=0.8))).count("a") == 2
    assert str(said(ask(client, **twice, presence_penalty=-2.0))).count("a") == 7


@pytest.mark.parametrize("stream", [False, True])
def test_probabilities_of_tokens(client: OpenAI, model: FakeModel, stream: bool) -> None:
    model.script = [*model.tokenizer("aö#b")["input_ids"], model.tokenizer.eos_token_id]
    model.peak = 8.0
    answer = ask(client, logprobs=True, top_logprobs=2, temperature=0, stop=["#b"], stream=stream)
    if stream:
        told = [choice.logprobs for chunk in answer for choice in chunk.choices]
        tokens = [one for logprobs in told if logprobs for one in logprobs.content]
    else:
        tokens = answer.choices[0].logprobs.content
    assert bytes(byte for one in tokens for byte in one.bytes).decode() == "aö"
    assert [one.token for one in tokens] == ["a", "\ufffd", "\ufffd"]
    for one in tokens:
        assert one.logprob == pytest.approx(model.logits(1).log_softmax(-1).max().item())
        assert len(one.top_logprobs) == 2
        assert one.top_logprobs[0].logprob == one.logprob > one.top_logprobs[1].logprob


def test_without_alternatives_the_chosen_tokens_are_told(client: OpenAI) -> None:
    (choice,) = ask(client, logprobs=True).choices
    assert "".join(one.token for one in choice.logprobs.content) == TEXT
    assert all(one.top_logprobs == [] for one in choice.logprobs.content)


def test_fields_that_nobody_knows_are_ignored(client: OpenAI) -> None:
    extra = {"reasoning": {"depth": 3}, "top_k": -1, "repetition_penalty": 1.0, "min_p": 0.1}
    answer = ask(client, user="me", store=False, response_format={"type": "text"}, extra_body=extra)
    assert said(answer) == TEXT
