"""Plain texts over the OpenAI API, with its own client and with LiteLLM."""

from collections.abc import Callable, Iterator

import pytest
from openai import OpenAI

from tests.unit.endpoint.fake_model import NAME, FakeModel

TEXT = "Once upon a time."


@pytest.fixture
def client(listen: Callable[..., str]) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"http://{listen()}/v1", api_key="none", max_retries=0) as client:
        yield client


def test_a_whole_answer(client: OpenAI, model: FakeModel) -> None:
    answer = client.completions.create(model=NAME, prompt="Hi", max_tokens=4)
    assert (answer.object, answer.model) == ("text_completion", NAME)
    (choice,) = answer.choices
    assert (choice.text, choice.finish_reason, choice.index) == ("Once", "length", 0)
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (2, 4)
    assert model.tokenizer.decode(model.sessions[0].steps[0]) == "Hi"


def test_a_stream(client: OpenAI) -> None:
    chunks = list(
        client.completions.create(
            model=NAME, prompt="Hi", stream=True, stream_options={"include_usage": True}
        )
    )
    *chunks, usage = chunks
    assert "".join(chunk.choices[0].text for chunk in chunks) == TEXT
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert usage.choices == []
    assert usage.usage is not None
    assert usage.usage.total_tokens == 2 + 18


def test_several_prompts_and_choices(client: OpenAI, model: FakeModel) -> None:
    answer = client.completions.create(model=NAME, prompt=["Hi", "Hello"], n=2, max_tokens=4)
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert [choice.text for choice in answer.choices] == ["Once"] * 4
    read = sorted(model.tokenizer.decode(session.steps[0]) for session in model.sessions)
    assert read == ["Hello", "Hello", "Hi", "Hi"]
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (7, 16)


def test_prompts_of_tokens(client: OpenAI, model: FakeModel) -> None:
    ids = model.tokenizer("Hi", add_special_tokens=False)["input_ids"]
    client.completions.create(model=NAME, prompt=ids)
    client.completions.create(model=NAME, prompt=[ids, ids])
    assert [session.steps[0] for session in model.sessions] == [ids] * 3


@pytest.mark.parametrize("stream", [False, True])
def test_probabilities_of_tokens(client: OpenAI, stream: bool) -> None:
    answer = client.completions.create(model=NAME, prompt="Hi", logprobs=1, stop=" a", stream=stream)
    choices = [chunk.choices[0] for chunk in answer] if stream else answer.choices
    told = [choice.logprobs for choice in choices if choice.logprobs]
    tokens = [token for one in told for token in one.tokens or []]
    assert "".join(tokens) == "Once upon"
    assert [offset for one in told for offset in one.text_offset or []] == list(range(9))
    assert [value for one in told for value in one.token_logprobs or []] == pytest.approx([0.0] * 9, abs=1e-3)
    assert [list(best) for one in told for best in one.top_logprobs or []] == [[token] for token in tokens]


def test_litellm(listen: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    import litellm  # noqa: PLC0415 - it reads the variable when it is imported

    here = {"model": f"openai/{NAME}", "api_base": f"http://{listen()}/v1", "api_key": "none"}
    messages = [{"role": "user", "content": "Hi"}]
    whole = litellm.completion(**here, messages=messages, max_tokens=4)
    assert (whole.choices[0].message.content, whole.choices[0].finish_reason) == ("Once", "length")
    assert whole.usage.completion_tokens == 4

    options = {"stream": True, "stream_options": {"include_usage": True}}
    chunks = list(litellm.completion(**here, messages=messages, **options))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == TEXT
    assert "stop" in [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices]
    assert any(getattr(chunk, "usage", None) and chunk.usage.completion_tokens == 18 for chunk in chunks)

    with pytest.raises(litellm.ContextWindowExceededError):
        litellm.completion(**here, messages=messages, max_tokens=9999, max_retries=0)
    with pytest.raises(litellm.NotFoundError):
        litellm.completion(**{**here, "model": "openai/gpt-9"}, messages=messages, max_retries=0)
