"""Runs in the tests' environment: the same greedy tokens by several ways, with 1, 4 and 16 streams at once.

All servers run from the start and are asked in turns, so that a machine whose speed drifts treats all alike. Prints
one line of JSON, see ``Measured``.
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

from scripts.benchmarks.engine_streams import (
    Streams,
    by_itself,
    first_token,
    first_token_beside_long_prompt,
    prompts,
    through_swarm,
)
from services.common.settings import SwarmSettings
from services.swarm.model import SwarmModel
from tests.swarm_processes import Swarm, until_served

STREAMS = (1, 4, 16)
NEW_TOKENS = int(sys.argv[1]) if len(sys.argv) > 1 else 32
ROUNDS = int(sys.argv[2]) if len(sys.argv) > 2 else 3
DTYPE = "bfloat16"

Way = Callable[[list[list[int]]], Streams]


@dataclass(frozen=True)
class Measured:
    """What was measured, as medians of all rounds.

    Attributes:
        speeds: way → number of streams → tokens a second of all together.
        gap_p50: the median of seconds between two tokens of a stream, with most streams at once, in batches.
        gap_p95: the same, which 95 of 100 stay below.
        first_token: seconds from a prompt to its first token, in batches.
        first_token_beside: the same while a long prompt runs.
    """

    speeds: dict[str, dict[int, float]]
    gap_p50: float
    gap_p95: float
    first_token: float
    first_token_beside: float


@contextmanager
def served(folder: Path, settings: SwarmSettings, scheduler: str, servers: int) -> Iterator[SwarmModel]:
    """Serve the model by so many servers with an equal part each, and join them as a client."""
    with Swarm(folder, settings.models_dir) as swarm:
        depth = AutoConfig.from_pretrained(settings.models_dir / settings.model).num_hidden_layers
        borders = [depth * number // servers for number in range(servers + 1)]
        for start, end in pairwise(borders):
            swarm.serve(
                settings.model,
                f"{start}:{end}",
                CALYX_NUM_HANDLERS="2",
                CALYX_DTYPE=DTYPE,
                CALYX_SCHEDULER=scheduler,
            ).until_logged("serving")
        with swarm.client(settings.model, dtype=DTYPE) as client:
            until_served(client)
            yield client.model


def measure(settings: SwarmSettings, folder: Path) -> Measured:
    """Ask all ways in turns."""
    with ExitStack() as stack:

        def swarm(name: str, scheduler: str, servers: int = 1) -> tuple[SwarmModel, Way]:
            model = stack.enter_context(served(folder / name, settings, scheduler, servers))
            return model, lambda texts: asyncio.run(through_swarm(model, texts, NEW_TOKENS))

        _, stock = swarm("stock", "stock")
        batching, batched = swarm("batched", "batched")
        _, halves = swarm("halves", "batched", servers=2)
        plain = AutoModelForCausalLM.from_pretrained(
            settings.models_dir / settings.model, dtype=getattr(torch, DTYPE)
        )
        ways: dict[str, Way] = {
            "stock": stock,
            "batched": batched,
            "plain": lambda texts: by_itself(plain, texts, NEW_TOKENS),
        }
        speeds: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
        gaps: list[float] = []
        alone, beside = [], []
        for _ in range(ROUNDS):
            for streams in STREAMS:
                texts = prompts(streams, plain.config.vocab_size)
                for way, run in (ways | ({"halves": halves} if streams == STREAMS[-1] else {})).items():
                    result = run(texts)
                    speeds[way][streams].append(result.speed)
                    if (way, streams) == ("batched", STREAMS[-1]):
                        gaps += result.gaps
            alone.append(asyncio.run(first_token(batching)))
            beside.append(asyncio.run(first_token_beside_long_prompt(batching)))
    hundredths = statistics.quantiles(gaps, n=100)
    return Measured(
        {
            way: {streams: statistics.median(some) for streams, some in by_streams.items()}
            for way, by_streams in speeds.items()
        },
        hundredths[49],
        hundredths[94],
        statistics.median(alone),
        statistics.median(beside),
    )


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        measured = measure(SwarmSettings.load(), Path(folder))
    sys.stdout.write(json.dumps(asdict(measured)) + "\n")


if __name__ == "__main__":
    main()
