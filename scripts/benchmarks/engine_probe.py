"""Runs in the tests' environment: the same greedy tokens by several ways, with 1, 4 and 16 streams at once.

Waits are measured first, with no other swarm on the machine: what idle servers do now and then would be felt in every
twentieth gap. For speeds all servers run and are asked in turns, so that a machine whose speed drifts treats all
alike. Prints one line of JSON, see ``Measured``.
"""

import asyncio
import json
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from scripts.benchmarks.engine_costs import spent
from scripts.benchmarks.engine_streams import (
    Streams,
    by_itself,
    first_token,
    first_token_beside_long_prompt,
    prompts,
    through_swarm,
)
from services.common.settings import SwarmSettings
from services.swarm.model import COMPUTING, SwarmModel
from tests.swarm_processes import Room, Swarm, until_served

STREAMS = (1, 4, 16)
NEW_TOKENS = int(sys.argv[1]) if len(sys.argv) > 1 else 32
ROUNDS = int(sys.argv[2]) if len(sys.argv) > 2 else 3
DTYPE = "bfloat16"

Way = Callable[[list[list[int]]], Streams]


@dataclass(frozen=True)
class Waits:
    """Seconds.

    Attributes:
        gap_p50: the median of those between two tokens of a stream, with most streams at once.
        gap_p95: the same, which 95 of 100 stay below.
        first_token: from a prompt to its first token.
        first_token_beside: the same while a long prompt runs.
    """

    gap_p50: float
    gap_p95: float
    first_token: float
    first_token_beside: float


@dataclass(frozen=True)
class Measured:
    """What was measured, as medians of all rounds.

    Attributes:
        speeds: way → number of streams → tokens a second of all together.
        waits: of those who are served in batches.
        costs: way → role → seconds of processor time a token, with most streams at once; way ``alone`` is one
            stream in batches.
    """

    speeds: dict[str, dict[int, float]]
    waits: Waits
    costs: dict[str, dict[str, float]]


@dataclass(frozen=True)
class Served:
    """A swarm of its own, and its client."""

    servers: tuple[Room, ...]
    model: SwarmModel

    def go_on(self, texts: list[list[int]]) -> Streams:
        """Continue all texts at once."""
        return asyncio.run(through_swarm(self.model, texts, NEW_TOKENS))

    def cost(self, texts: list[list[int]]) -> dict[str, float]:
        """Return the processor time that this takes, by role, in seconds a token; the prompts' is among it."""
        with spent(self.servers) as seconds:
            self.go_on(texts)
        return {role: some / (len(texts) * NEW_TOKENS) for role, some in seconds.items()}


@contextmanager
def served(folder: Path, settings: SwarmSettings, scheduler: str, servers: int) -> Iterator[Served]:
    """Serve the model by so many servers with an equal part each, and join them as a client."""
    with Swarm(folder, settings.models_dir) as swarm:
        depth = AutoConfig.from_pretrained(settings.models_dir / settings.model).num_hidden_layers
        borders = [depth * number // servers for number in range(servers + 1)]
        rooms = tuple(
            swarm.serve(
                settings.model,
                f"{start}:{end}",
                CALYX_NUM_HANDLERS="2",
                CALYX_DTYPE=DTYPE,
                CALYX_SCHEDULER=scheduler,
            )
            for start, end in pairwise(borders)
        )
        for room in rooms:
            room.until_logged("serving")
        with swarm.client(settings.model, dtype=DTYPE) as client:
            until_served(client)
            yield Served(rooms, client.model)


def measure(settings: SwarmSettings, folder: Path) -> Measured:
    """Ask all ways in turns."""
    with ExitStack() as stack:

        def swarm(name: str, scheduler: str, servers: int = 1) -> Served:
            return stack.enter_context(served(folder / name, settings, scheduler, servers))

        batched = swarm("batched", "batched")
        waits = _waits(batched)
        stock, halves = swarm("stock", "stock"), swarm("halves", "batched", servers=2)
        plain = AutoModelForCausalLM.from_pretrained(
            settings.models_dir / settings.model, dtype=getattr(torch, DTYPE)
        )
        ways: dict[str, Way] = {
            "stock": stock.go_on,
            "batched": batched.go_on,
            "plain": lambda texts: COMPUTING.submit(by_itself, plain, texts, NEW_TOKENS).result(),
        }
        speeds: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
        for _ in range(ROUNDS):
            for streams in STREAMS:
                texts = prompts(streams, plain.config.vocab_size)
                for way, run in (ways | ({"halves": halves.go_on} if streams == STREAMS[-1] else {})).items():
                    speeds[way][streams].append(run(texts).speed)
        most = prompts(STREAMS[-1], plain.config.vocab_size)
        costs = {"stock": stock.cost(most), "batched": batched.cost(most), "alone": batched.cost(most[:1])}
    return Measured(
        {
            way: {streams: statistics.median(some) for streams, some in by_streams.items()}
            for way, by_streams in speeds.items()
        },
        waits,
        costs,
    )


def _waits(served: Served) -> Waits:
    gaps: list[float] = []
    alone, beside = [], []
    for _ in range(ROUNDS):
        gaps += served.go_on(prompts(STREAMS[-1], served.model.vocab_size)).gaps
        alone.append(asyncio.run(first_token(served.model)))
        beside.append(asyncio.run(first_token_beside_long_prompt(served.model)))
    hundredths = statistics.quantiles(gaps, n=100)
    return Waits(hundredths[49], hundredths[94], statistics.median(alone), statistics.median(beside))


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        measured = measure(SwarmSettings.load(), Path(folder))
    sys.stdout.write(json.dumps(asdict(measured)) + "\n")


if __name__ == "__main__":
    main()
