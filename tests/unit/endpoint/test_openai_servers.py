"""Which servers answered: a field of ours that OpenAI's own client hands on."""

from collections.abc import Callable, Iterator

import pytest
from openai import OpenAI

from tests.unit.endpoint.fake_model import NAME, FakeModel

QUESTION = [{"role": "user", "content": "Tell me"}]
TOLD = {
    "servers": [
        {"peer_id": "12D3KooWFakeOne", "public_name": "tulip", "start_block": 0, "end_block": 15},
        {"peer_id": "12D3KooWFakeTwo", "public_name": None, "start_block": 15, "end_block": 30},
    ]
}


@pytest.fixture
def client(listen: Callable[..., str]) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"http://{listen()}/v1", api_key="none", max_retries=0) as client:
        yield client


def test_a_whole_answer_tells_who_computed_it(client: OpenAI) -> None:
    chat = client.chat.completions.create(model=NAME, messages=QUESTION)
    text = client.completions.create(model=NAME, prompt="Tell me")
    assert chat.model_extra == text.model_extra == {"calyx": TOLD}


def test_a_stream_tells_it_with_the_first_and_the_last_token(client: OpenAI, model: FakeModel) -> None:
    chunks = list(client.chat.completions.create(model=NAME, messages=QUESTION, stream=True))
    told = [(chunk.model_extra or {}).get("calyx") for chunk in chunks]
    begin = 2  # its role, and its first letter
    assert told[:begin] == [TOLD] * begin
    assert told[-1] == TOLD
    assert not any(told[begin:-1])
