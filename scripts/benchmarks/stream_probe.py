"""Runs inside the endpoint's container: the same greedy tokens by three ways, in turns, so that a machine whose
speed drifts treats all alike. Prints one line of JSON."""

import asyncio
import json
import os
import statistics
import sys
import time
from collections.abc import Callable

import torch
from transformers import AutoModelForCausalLM, DynamicCache
from websockets.sync.client import connect

from services.common.settings import SwarmSettings
from services.swarm.model import COMPUTING, SwarmModel

PROMPT = "Once upon a time, in a small village by the sea,"
NEW_TOKENS = 48
ROUNDS = 9


def through_endpoint(name: str) -> int:
    """Ask the endpoint for all tokens in one answer."""
    with connect("ws://127.0.0.1:8000/api/v2/generate") as socket:
        socket.send(json.dumps({"type": "open_inference_session", "model": name, "max_length": 256}))
        socket.recv()
        socket.send(json.dumps({"type": "generate", "inputs": PROMPT, "max_new_tokens": NEW_TOKENS}))
        return int(json.loads(socket.recv())["token_count"])


async def through_session(model: SwarmModel, prompt: list[int]) -> int:
    """Take the same steps by a session of this process, without the endpoint."""
    session = model.open_session(256)
    try:
        logits = await session.logits(prompt)
        for _ in range(NEW_TOKENS - 1):
            logits = await session.logits([int(logits.argmax())])
        return NEW_TOKENS
    finally:
        await session.close()


def by_itself(model: torch.nn.Module, prompt: list[int]) -> int:
    """Take the same steps by transformers, with the whole model in this process."""
    with torch.inference_mode():
        cache, tokens = DynamicCache(), torch.tensor([prompt])
        for _ in range(NEW_TOKENS):
            logits = model(tokens, past_key_values=cache, logits_to_keep=1).logits
            tokens = logits[:, -1].argmax(-1, keepdim=True)
        return NEW_TOKENS


def main() -> None:
    """Measure and print."""
    settings = SwarmSettings.load()
    swarm = SwarmModel.load(settings)
    plain = AutoModelForCausalLM.from_pretrained(settings.models_dir / swarm.name, dtype=swarm.dtype).eval()
    prompt = swarm.tokenizer(PROMPT)["input_ids"]
    ways: dict[str, Callable[[], int]] = {
        "endpoint": lambda: through_endpoint(swarm.name),
        "session": lambda: asyncio.run(through_session(swarm, prompt)),
        "plain": lambda: COMPUTING.submit(by_itself, plain, prompt).result(),
    }
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(ROUNDS + 1):
        for name, run in ways.items():
            begin = time.perf_counter()
            tokens = run()
            if turn:  # the first turn warms up
                speeds[name].append(tokens / (time.perf_counter() - begin))
    figures = {name: statistics.median(values) for name, values in speeds.items()}
    for other in ("session", "plain"):
        ratios = [mine / theirs for mine, theirs in zip(speeds["endpoint"], speeds[other], strict=True)]
        figures[f"endpoint_to_{other}"] = statistics.median(ratios)
    # Of each turn, for a machine may be twice as fast in another
    pairs = zip(speeds["endpoint"], speeds["session"], strict=True)
    figures["endpoint_adds_ms"] = statistics.median(1000 / mine - 1000 / theirs for mine, theirs in pairs)
    print(json.dumps(figures))
    sys.stdout.flush()
    os._exit(0)  # the swarm's client would wait for its helper processes


main()
