"""A draft model says what plain transformers says greedily, whatever it was asked before."""

import asyncio
import random
from collections.abc import Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from services.common.errors import InvalidInput
from services.common.settings import SwarmSettings
from services.swarm.client.draft import Draft
from services.swarm.model import _load_draft
from services.swarm.spec import ModelSpec
from tests.unit.swarm.tiny_models import save_tiny_model
from tests.unit.swarm.tiny_sizes import VOCABULARY

THREAD = ThreadPoolExecutor(1)
LONGEST = 400


@pytest.fixture(scope="module", params=["llama", "gemma3", "gpt2"])
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> PreTrainedModel:
    folder = save_tiny_model(tmp_path_factory.mktemp("draft"), request.param)
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


@pytest.fixture
def draft(whole: PreTrainedModel) -> Draft:
    return Draft(whole, LONGEST, VOCABULARY, THREAD)


def greedy(whole: PreTrainedModel, tokens: Sequence[int], count: int) -> list[int]:
    said = list(tokens)
    with torch.inference_mode():
        for _ in range(count):
            said.append(int(whole(torch.tensor([said]), use_cache=False).logits[0, -1].argmax()))
    return said[len(tokens) :]


async def test_it_goes_on_as_the_model_would(whole: PreTrainedModel, draft: Draft) -> None:
    numbers = random.Random(0)
    texts = [[numbers.randrange(2, VOCABULARY) for _ in range(length)] for length in (1, 7, 130, 260, 40, 41)]
    for _ in range(4):
        for text in texts:
            count = numbers.randrange(1, 6)
            guesses = await draft.go_on(text, count)
            assert guesses == greedy(whole, text, count)
            # Some guesses are right, and the next token is another
            text += [*guesses[: numbers.randrange(count + 1)], numbers.randrange(2, VOCABULARY)]


async def test_a_text_that_begins_like_another_is_not_mistaken_for_it(
    whole: PreTrainedModel, draft: Draft
) -> None:
    text = list(range(2, 30))
    for other in (text, text[:20], [*text[:20], 3, 3], text):
        assert await draft.go_on(other, 3) == greedy(whole, other, 3)


async def test_a_text_reads_only_what_is_new(whole: PreTrainedModel, draft: Draft) -> None:
    read: list[int] = []
    watching = whole.register_forward_pre_hook(lambda _, args: read.append(args[0].shape[1]))
    text = list(range(2, 202))

    guesses = await draft.go_on(text, 2)
    await draft.go_on([*text, *guesses, 5], 1)
    watching.remove()

    assert read == [128, 72, 1, 2]


async def test_beyond_its_longest_text_it_has_nothing_to_say(draft: Draft) -> None:
    assert len(await draft.go_on([5] * (LONGEST - 2), 8)) == 2
    assert await draft.go_on([5] * LONGEST, 8) == []
    assert await draft.go_on([], 8) == []


async def test_tokens_that_the_large_model_lacks_are_not_guessed(whole: PreTrainedModel) -> None:
    assert await Draft(whole, LONGEST, 0, THREAD).go_on([5, 6], 8) == []


class Gate(Executor):
    """Runs nothing until it is told to."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Future[Any], Any]] = []

    def submit(self, work: Any, /, *args: Any, **_: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.waiting.append((future, lambda: work(*args)))
        return future

    def run(self) -> None:
        future, work = self.waiting.pop()
        if future.set_running_or_notify_cancel():
            future.set_result(work())


async def test_while_it_guesses_for_one_text_others_go_without(whole: PreTrainedModel) -> None:
    gate = Gate()
    draft = Draft(whole, LONGEST, VOCABULARY, gate)
    first = asyncio.create_task(draft.go_on([5, 6], 1))
    await asyncio.sleep(0)

    assert await draft.go_on([7, 8], 1) == []
    gate.run()
    assert await first == greedy(whole, [5, 6], 1)


async def test_who_leaves_in_the_middle_leaves_nothing_wrong_behind(whole: PreTrainedModel) -> None:
    gate = Gate()
    draft = Draft(whole, LONGEST, VOCABULARY, gate)
    leaving = asyncio.create_task(draft.go_on([5, 6], 3))
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.wait([leaving])
    gate.run()

    again = asyncio.create_task(draft.go_on([5, 6], 1))
    await asyncio.sleep(0)
    gate.run()
    assert await again == greedy(whole, [5, 6], 1)


def test_a_model_of_other_tokens_is_refused(tmp_path: Path) -> None:
    for name in ("large", "small"):
        save_tiny_model(tmp_path / "tiny" / name, "llama")
    tokenizer = tmp_path / "tiny" / "small" / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text().replace('"w7"', '"other"'))
    settings = SwarmSettings.load(model="tiny/large", models_dir=tmp_path, cache_dir=tmp_path)
    large = ModelSpec.find(settings)

    assert isinstance(_load_draft("tiny/large", large, settings, torch.float32), Draft)
    with pytest.raises(InvalidInput, match="tiny/small has other tokens than tiny/large"):
        _load_draft("tiny/small", large, settings, torch.float32)
