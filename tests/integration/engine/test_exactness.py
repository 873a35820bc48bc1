"""Blocks over two servers compute what the whole model computes: same greedy text, same logits."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from transformers import PreTrainedModel

from services.swarm.family.quantized import Quantization, quantize
from tests.blocking_client import BlockingClient
from tests.integration.engine.reference import (
    VARIANTS,
    Text,
    logits_along,
    logits_without_rounding,
    plain_transformers,
)
from tests.swarm_processes import Swarm, until_served

PROMPTS = (1, 2, 300, 600)
"""Lengths: the shortest ones, one of many chunks of prefill, and one that the client sends in two messages."""
CHUNKS = {"CALYX_SCHEDULER": "stock", "CALYX_PREFILL_CHUNK_TOKENS": "64"}
WHOLE = {"CALYX_SCHEDULER": "stock", "CALYX_PREFILL_CHUNK_TOKENS": "4096"}
BATCHED = {"CALYX_SCHEDULER": "batched", "CALYX_BATCH_TOKENS": "64"}
TOLERANCE = 1e-4
"""Logits lie within ±5. Split and whole models differ in nothing but the order of sums, which depends on the
processor and on how many tokens are computed at once."""


@contextmanager
def split_over_two_servers(swarm: Swarm, model: str, dtype: str, **settings: str) -> Iterator[BlockingClient]:
    """Serve each half of the blocks by a server of its own, and yield a client as soon as both are online."""
    servers = [swarm.serve(model, blocks, CALYX_DTYPE=dtype, **settings) for blocks in ("0:2", "2:4")]
    try:
        for server in servers:
            server.until_logged("serving")
        with swarm.client(model, dtype=dtype) as client:
            until_served(client)
            yield client
    finally:
        swarm.stop(*servers)


def texts(swarm: Swarm, model: str, dtype: torch.dtype) -> list[Text]:
    return [
        plain_transformers(swarm.models / model, prompt=length, new=32, dtype=dtype) for length in PROMPTS
    ]


@pytest.mark.parametrize(
    ("variant", "form", "how"),
    [
        *((variant, "sharded", CHUNKS) for variant in VARIANTS),
        *((variant, "single", WHOLE) for variant in ("llama", "mixtral")),
        *((variant, "sharded", BATCHED) for variant in ("llama-3.1", "mixtral", "gemma3")),
    ],
)
def test_float32_gives_the_text_and_the_logits_of_plain_transformers(
    swarm: Swarm, variant: str, form: str, how: dict[str, str]
) -> None:
    model = f"tiny/{variant}-{form}"

    with split_over_two_servers(swarm, model, "float32", **how) as client:
        for text in texts(swarm, model, torch.float32):
            logits = logits_along(client, text)

            assert logits.argmax(-1).tolist() == text.tokens
            torch.testing.assert_close(logits, text.logits, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("quantization", ["int8", "nf4"])
def test_fewer_bits_give_the_text_and_the_logits_of_the_same_layers_in_plain_transformers(
    swarm: Swarm, quantization: Quantization
) -> None:
    def quantize_layers(model: PreTrainedModel) -> None:
        for layer in model.model.layers:
            quantize(layer, quantization, torch.device("cpu"))

    model = "tiny/llama-3.1-single"
    text = plain_transformers(swarm.models / model, prompt=60, new=32, change=quantize_layers)
    how = {"CALYX_QUANTIZATION": quantization, "CALYX_SCHEDULER": "batched"}

    with split_over_two_servers(swarm, model, "float32", **how) as client:
        logits = logits_along(client, text)

    assert logits.argmax(-1).tolist() == text.tokens
    torch.testing.assert_close(logits, text.logits, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("scheduler", ["stock", "batched"])
def test_bfloat16_rounds_no_more_than_plain_transformers_does(swarm: Swarm, scheduler: str) -> None:
    model = "tiny/llama-sharded"
    how = {"CALYX_SCHEDULER": scheduler, "CALYX_PREFILL_CHUNK_TOKENS": "64"}

    with split_over_two_servers(swarm, model, "bfloat16", **how) as client:
        for text in texts(swarm, model, torch.bfloat16):
            logits = logits_along(client, text)

            exact = logits_without_rounding(swarm.models / model, text, torch.bfloat16)

            assert root_mean_square(logits - exact) <= 1.25 * root_mean_square(text.logits - exact)


def root_mean_square(errors: torch.Tensor) -> float:
    """Steady where the largest error is not: that one doubles from processor to processor, this one moves by 6 %."""
    return errors.square().mean().sqrt().item()
