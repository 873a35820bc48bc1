"""Blocks over two servers compute what the whole model computes: same greedy text, same logits."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from services.swarm import family
from services.swarm.model import SwarmModel
from tests.swarm_processes import Swarm, until
from tests.unit.swarm.tiny_models import CONFIGS, VOCABULARY

NEW_TOKENS = 32
PROMPTS = (1, 2, 300, 600)
"""Lengths: the shortest ones, one of many chunks of prefill, and one that the client sends in two messages."""
FLOAT32_TOLERANCE = 1e-4
"""Logits lie within ±5; whole and split models differ by the order of sums alone, measured at most 1e-5."""
BFLOAT16_TOLERANCE = 0.1


@dataclass(frozen=True)
class Text:
    """What plain transformers makes of a prompt: greedy tokens, and the logits that each was chosen by."""

    prompt: list[int]
    tokens: list[int]
    logits: torch.Tensor


def plain_transformers(folder: Path, dtype: torch.dtype) -> list[Text]:
    """Return the greedy continuation of a random prompt of each length."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    chance = torch.Generator().manual_seed(0)
    texts = []
    for length in PROMPTS:
        prompt = torch.randint(2, VOCABULARY, (1, length), generator=chance)
        made = model.generate(
            prompt,
            do_sample=False,
            max_new_tokens=NEW_TOKENS,
            output_logits=True,
            return_dict_in_generate=True,
        )
        texts.append(
            Text(prompt[0].tolist(), made.sequences[0, length:].tolist(), torch.cat(made.logits).float())
        )
    return texts


def logits_along(model: SwarmModel, text: Text) -> torch.Tensor:
    """Return the swarm's logits after the prompt and after each token of the text, [tokens, vocabulary]."""
    session = model.open_session(len(text.prompt) + len(text.tokens))
    try:
        return torch.stack([session.step(part) for part in [text.prompt, *([t] for t in text.tokens[:-1])]])
    finally:
        session.close()


@pytest.fixture(scope="module")
def swarm(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swarm]:
    """One swarm for all architectures: each model has a prefix of its own."""
    with Swarm(tmp_path_factory.mktemp("exactness"), models) as running:
        yield running
        print(running.logs())


@contextmanager
def split_over_two_servers(swarm: Swarm, model: str, dtype: str, **settings: str) -> Iterator[SwarmModel]:
    """Serve each half of the blocks by a server of its own, and yield a client as soon as both are online."""
    servers = [swarm.serve(model, blocks, CALYX_DTYPE=dtype, **settings) for blocks in ("0:2", "2:4")]
    client = swarm.client(model, dtype=dtype)
    try:
        until(lambda: all(server.until_logged("serving") or True for server in servers))
        until(lambda: client.missing_blocks() == [])
        yield client
    finally:
        for server in servers:
            server.kill()


def test_every_verified_architecture_is_tested_here() -> None:
    verified = json.loads(files(family).joinpath("families.json").read_text())

    assert {make().model_type for make in CONFIGS.values()} == verified.keys()


@pytest.mark.parametrize(("form", "chunk"), [("sharded", "64"), ("single", "4096")])
@pytest.mark.parametrize("variant", CONFIGS)
def test_float32_gives_the_text_and_the_logits_of_plain_transformers(
    swarm: Swarm, variant: str, form: str, chunk: str
) -> None:
    model = f"tiny/{variant}-{form}"
    texts = plain_transformers(swarm.models / model, torch.float32)

    with split_over_two_servers(swarm, model, "float32", CALYX_PREFILL_CHUNK_TOKENS=chunk) as client:
        for text in texts:
            logits = logits_along(client, text)
            print(len(text.prompt), (logits - text.logits).abs().max())
            assert logits.argmax(-1).tolist() == text.tokens
            torch.testing.assert_close(logits, text.logits, rtol=0, atol=FLOAT32_TOLERANCE)


def test_bfloat16_stays_within_its_rounding_of_plain_transformers(swarm: Swarm) -> None:
    model = "tiny/llama-sharded"
    texts = plain_transformers(swarm.models / model, torch.bfloat16)

    with split_over_two_servers(swarm, model, "bfloat16", CALYX_PREFILL_CHUNK_TOKENS="64") as client:
        for text in texts:
            logits = logits_along(client, text)
            print(
                len(text.prompt),
                (logits - text.logits).abs().max(),
                logits.argmax(-1).tolist() == text.tokens,
            )
            torch.testing.assert_close(logits, text.logits, rtol=0, atol=BFLOAT16_TOLERANCE)
