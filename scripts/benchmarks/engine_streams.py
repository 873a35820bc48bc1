"""What the engine's probe lets sessions do, and what it notes meanwhile."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from transformers import PreTrainedModel

from services.common.errors import Unavailable
from services.swarm.client.session import AsyncSession
from services.swarm.model import SwarmModel

PROMPT_TOKENS = 20
LONG_PROMPT_TOKENS = 2000


@dataclass(frozen=True)
class Streams:
    """What streams at once were given; prompts are not counted.

    Attributes:
        speed: tokens a second of all together.
        gaps: seconds between two tokens of the same stream.
    """

    speed: float
    gaps: tuple[float, ...] = ()


def prompts(streams: int, vocabulary: int, tokens: int = PROMPT_TOKENS) -> list[list[int]]:
    """Return a random prompt for each stream."""
    numbers = torch.Generator().manual_seed(streams)
    made: list[list[int]] = torch.randint(10, vocabulary, (streams, tokens), generator=numbers).tolist()
    return made


class Likeliest:
    """Chooses the likeliest token."""

    @classmethod
    def choose_all(cls, choosers: Sequence[Any], logits: torch.Tensor) -> list[int | Exception]:
        """See :class:`services.swarm.client.ends.Chooser`."""
        tokens: list[int | Exception] = logits.argmax(dim=-1).tolist()
        return tokens


async def through_swarm(model: SwarmModel, texts: list[list[int]], new_tokens: int) -> Streams:
    """Continue each text by so many tokens, all at once."""
    sessions = [model.open_session(len(text) + new_tokens) for text in texts]
    gaps: list[float] = []

    async def go_on(session: AsyncSession, token: int) -> None:
        moments = [time.perf_counter()]
        for _ in range(new_tokens):
            (token,) = await session.next_tokens([token], Likeliest())
            moments.append(time.perf_counter())
        gaps.extend(later - earlier for earlier, later in pairwise(moments))

    try:
        asked = zip(sessions, texts, strict=True)
        first = await asyncio.gather(*(session.next_tokens(text, Likeliest()) for session, text in asked))
        start = time.perf_counter()
        await asyncio.gather(
            *(go_on(session, token) for session, (token,) in zip(sessions, first, strict=True))
        )
        return Streams(len(texts) * new_tokens / (time.perf_counter() - start), tuple(gaps))
    finally:
        await asyncio.gather(*(session.close() for session in sessions))


def by_itself(model: PreTrainedModel, texts: list[list[int]], new_tokens: int) -> Streams:
    """Continue all texts as one static batch, without any swarm."""
    with torch.inference_mode():
        output = model(torch.tensor(texts), use_cache=True, logits_to_keep=1)
        start = time.perf_counter()
        for _ in range(new_tokens):
            tokens = output.logits[:, -1].argmax(-1, keepdim=True)
            output = model(tokens, past_key_values=output.past_key_values, use_cache=True)
        return Streams(len(texts) * new_tokens / (time.perf_counter() - start))


async def first_token(model: SwarmModel) -> float:
    """Return the seconds from a prompt to its first token."""
    (text,) = prompts(1, model.vocab_size)
    session = model.open_session(len(text))
    try:
        start = time.perf_counter()
        await session.next_tokens(text, Likeliest())
        return time.perf_counter() - start
    finally:
        await session.close()


async def first_token_beside_long_prompt(model: SwarmModel) -> float:
    """Return the same while servers are busy with a long prompt.

    Raises:
        Unavailable: the long prompt had come to its end before.
    """
    (text,) = prompts(1, model.vocab_size, LONG_PROMPT_TOKENS)
    session = model.open_session(len(text))
    long = asyncio.create_task(session.next_tokens(text, Likeliest()))
    try:
        while not session.position and not long.done():
            await asyncio.sleep(0.001)
        seconds = await first_token(model)
        if long.done():
            raise Unavailable("measuring a first token: the long prompt was over too early")
        await long
        return seconds
    finally:
        long.cancel()
        await session.close()
