"""Runs in the tests' environment: the same greedy tokens by three ways, with 1, 4 and 16 streams at once.

Servers of both kinds run from the start and are asked in turns, so that a machine whose speed drifts treats all
alike. Prints one line of JSON: way → streams → tokens a second.
"""

import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from services.common.settings import SwarmSettings
from services.swarm.client.session import AsyncSession
from services.swarm.model import SwarmModel
from tests.swarm_processes import Swarm, until_served

STREAMS = (1, 4, 16)
PROMPT_TOKENS = 20
NEW_TOKENS = int(sys.argv[1]) if len(sys.argv) > 1 else 32
ROUNDS = int(sys.argv[2]) if len(sys.argv) > 2 else 3
DTYPE = "bfloat16"


def prompts(streams: int, vocabulary: int) -> list[list[int]]:
    """Return a random prompt for each stream."""
    numbers = torch.Generator().manual_seed(streams)
    tokens: list[list[int]] = torch.randint(
        10, vocabulary, (streams, PROMPT_TOKENS), generator=numbers
    ).tolist()
    return tokens


class Likeliest:
    """Chooses the likeliest token."""

    @classmethod
    def choose_all(cls, choosers: Sequence[Any], logits: torch.Tensor) -> list[int | Exception]:
        """See :class:`services.swarm.client.ends.Chooser`."""
        tokens: list[int | Exception] = logits.argmax(dim=-1).tolist()
        return tokens


def through_swarm(model: SwarmModel, texts: list[list[int]]) -> float:
    """Return tokens a second of all streams together, from the first step to the last; prompts are not counted."""
    return asyncio.run(_through_swarm(model, texts))


async def _through_swarm(model: SwarmModel, texts: list[list[int]]) -> float:
    sessions = [model.open_session(PROMPT_TOKENS + NEW_TOKENS) for _ in texts]

    async def go_on(session: AsyncSession, token: int) -> None:
        for _ in range(NEW_TOKENS):
            (token,) = await session.next_tokens([token], Likeliest())

    try:
        asked = zip(sessions, texts, strict=True)
        first = await asyncio.gather(*(session.next_tokens(text, Likeliest()) for session, text in asked))
        start = time.perf_counter()
        await asyncio.gather(
            *(go_on(session, token) for session, (token,) in zip(sessions, first, strict=True))
        )
        return len(texts) * NEW_TOKENS / (time.perf_counter() - start)
    finally:
        await asyncio.gather(*(session.close() for session in sessions))


def by_itself(model: PreTrainedModel, texts: list[list[int]]) -> float:
    """Return tokens a second of one static batch, prompts not counted."""
    with torch.inference_mode():
        output = model(torch.tensor(texts), use_cache=True, logits_to_keep=1)
        start = time.perf_counter()
        for _ in range(NEW_TOKENS):
            tokens = output.logits[:, -1].argmax(-1, keepdim=True)
            output = model(tokens, past_key_values=output.past_key_values, use_cache=True)
        return len(texts) * NEW_TOKENS / (time.perf_counter() - start)


def main() -> None:
    """Measure and print."""
    settings = SwarmSettings.load()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        ways: dict[str, Callable[[list[list[int]]], float]] = {}
        for scheduler in ("stock", "batched"):
            swarm = stack.enter_context(Swarm(Path(folder, scheduler), settings.models_dir))
            server = swarm.serve(
                settings.model, CALYX_NUM_HANDLERS="2", CALYX_DTYPE=DTYPE, CALYX_SCHEDULER=scheduler
            )
            server.until_logged("serving")
            client = stack.enter_context(swarm.client(settings.model, dtype=DTYPE))
            until_served(client)
            ways[scheduler] = lambda texts, model=client.model: through_swarm(model, texts)  # type: ignore[misc]
        plain = AutoModelForCausalLM.from_pretrained(
            settings.models_dir / settings.model, dtype=getattr(torch, DTYPE)
        )
        ways["plain"] = lambda texts: by_itself(plain, texts)
        speeds: dict[str, dict[int, list[float]]] = {
            way: {streams: [] for streams in STREAMS} for way in ways
        }
        for _ in range(ROUNDS):
            for streams in STREAMS:
                texts = prompts(streams, plain.config.vocab_size)
                for way, run in ways.items():
                    speeds[way][streams].append(run(texts))
    medians = {
        way: {streams: statistics.median(values) for streams, values in by_streams.items()}
        for way, by_streams in speeds.items()
    }
    sys.stdout.write(json.dumps(medians) + "\n")


if __name__ == "__main__":
    main()
