"""What a server takes: as much as was counted when it chose its blocks, and no more after many sessions."""

import asyncio
import shutil
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from services.swarm.family.block import cache_bytes_per_token
from services.swarm.family.quantized import Quantization
from services.swarm.loading import block_bytes
from services.swarm.model import SwarmModel
from services.swarm.spec import ModelSpec
from tests.swarm_processes import Room, Swarm, until_served

WINDOW_SESSIONS, MOST_WINDOWS = 500, 20
"""Heaps find their size, and batches of a size that was never met cost memory once; what leaks costs it in each."""
LOST_BYTES = 1000
"""Of a session, by one of a server's four processes; less cannot be told from heaps that grow in steps."""
AT_ONCE = 50
CACHE_TOKENS = 2048


def own_memory(servers: list[Room]) -> dict[str, int]:
    """Return process → the bytes that it has for itself, which is where it would lose some."""
    members = [process for server in servers for process in server.members()]
    return {f"{process.name()} {process.pid}": process.memory_full_info().uss for process in members}


def memory(server: Room) -> int:
    """Return the bytes that would be free if the server's processes ended; what they share counts once."""
    return sum(process.memory_full_info().pss for process in server.members())


async def come_and_go(model: SwarmModel, count: int) -> None:
    """Open so many sessions, let each have a prompt and a token, and close them; some leave before their answer."""
    places = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> None:
        async with places:
            session = model.open_session(16)
            await session.logits([5, 6, 7])
            step = asyncio.create_task(session.logits([8]))
            if number % 10 == 0:
                await asyncio.sleep(0)
                step.cancel()
            await asyncio.wait([step])
            await session.close()

    await asyncio.gather(*(one(number) for number in range(count)))


def test_no_memory_is_lost_over_many_sessions(swarm: Swarm, model: str) -> None:
    servers = [
        swarm.serve(model, "0:2", CALYX_SCHEDULER="stock"),
        swarm.serve(model, "2:4", CALYX_SCHEDULER="batched"),
    ]
    with swarm.client(model) as client:
        until_served(client)
        taken = [own_memory(servers)]
        growing = set(taken[0])
        while growing and len(taken) <= MOST_WINDOWS:
            asyncio.run(come_and_go(client.model, WINDOW_SESSIONS))
            taken.append(own_memory(servers))
            before, now = taken[-2:]
            growing = {one for one in growing if now[one] - before[one] >= LOST_BYTES * WINDOW_SESSIONS}

    assert not growing, f"bytes after each window: {[{one: then[one] for one in growing} for then in taken]}"
    swarm.stop(*servers)


@pytest.fixture
def wide_model(models: Path) -> str:
    """A model whose blocks are large beside all else that a server takes."""
    torch.manual_seed(0)
    folder = models / "tiny" / "wide"
    config = LlamaConfig(
        vocab_size=320,
        hidden_size=1024,
        intermediate_size=2816,
        num_hidden_layers=6,
        num_attention_heads=8,
        num_key_value_heads=8,
        max_position_embeddings=CACHE_TOKENS,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    for file in (models / "tiny" / "llama-single").glob("tokenizer*"):
        shutil.copy(file, folder)
    return "tiny/wide"


@pytest.mark.parametrize(
    ("scheduler", "quantization"), [("stock", "none"), ("batched", "none"), ("batched", "nf4")]
)
def test_a_block_takes_the_memory_that_is_counted_for_it(
    swarm: Swarm, wide_model: str, scheduler: str, quantization: Quantization
) -> None:
    spec = ModelSpec.find(swarm.settings(wide_model))
    weights = block_bytes(spec.anatomy, torch.float32, torch.device("cpu"), quantization)
    cache = cache_bytes_per_token(spec.anatomy, torch.float32) * CACHE_TOKENS
    settings = {
        "CALYX_SCHEDULER": scheduler,
        "CALYX_QUANTIZATION": quantization,
        "CALYX_ATTN_CACHE_TOKENS": str(CACHE_TOKENS),
        "CALYX_MAX_SESSION_TOKENS": str(CACHE_TOKENS),
        # So that what was freed is given back at once, and only what is held is measured
        "MALLOC_MMAP_THRESHOLD_": "65536",
        # So that both servers meet the same sizes of batches, for each of which oneDNN keeps programs
        "CALYX_BATCH_SECONDS": "60",
    }
    one, five = (swarm.serve(wide_model, blocks, **settings) for blocks in ("0:1", "1:6"))
    with swarm.client(wide_model) as client:
        until_served(client)

        async def fill() -> int:
            """Return how much more five blocks take than one, with every token of the cache in use."""
            session = client.model.open_session(CACHE_TOKENS)
            await session.logits([5] * CACHE_TOKENS)
            more = memory(five) - memory(one)
            await session.close()
            return more

        assert asyncio.run(fill()) == pytest.approx(4 * (weights + cache), rel=0.1)
    swarm.stop(one, five)
