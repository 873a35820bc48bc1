"""``/healthz``: the process lives. ``/readyz``: a model is loaded and the swarm has every block of it."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse

from services.endpoint.errors import presentable
from services.endpoint.models import Models


@dataclass(frozen=True)
class Standing:
    """Whether one model can be used now.

    Attributes:
        name: its name on the hub.
        num_blocks: how many blocks it has; ``None`` while it is not loaded.
        missing: blocks that no server has, in their order.
        problem: why it cannot be used, in one line; ``None`` if it can.
    """

    name: str
    num_blocks: int | None
    missing: tuple[int, ...]
    problem: str | None


class Readiness:
    """Answers whether models can be used now.

    However many ask, the swarm is asked at most once per ``lifetime``.

    Args:
        models: the models to look at.
        lifetime: seconds that an answer counts.
        patience: seconds that one look at the swarm may take; less than a probe waits.
        clock: monotonic time in seconds.
    """

    def __init__(
        self,
        models: Models,
        lifetime: float = 2.0,
        patience: float = 3.5,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._models = models
        self._lifetime = lifetime
        self._patience = patience
        self._clock = clock
        self._standings: list[Standing] = []
        self._expires = float("-inf")
        self._look: asyncio.Task[None] | None = None

    async def check(self) -> tuple[bool, str]:
        """Return whether some model can be used, and one line saying which or why none."""
        standings = await self.standings()
        ready = [standing.name for standing in standings if standing.problem is None]
        if ready:
            return True, f"ready: {', '.join(ready)}"
        # Models that the same silence of the swarm keeps from being used name it once
        problems = dict.fromkeys(standing.problem or "" for standing in standings)
        return False, "; ".join(problems) or "no model is served yet"

    async def standings(self) -> list[Standing]:
        """Return how each model stands."""
        if self._clock() >= self._expires:
            if self._look is None or self._look.done():
                self._look = asyncio.create_task(self._look_at_all())
            try:
                async with asyncio.timeout(self._patience):
                    await asyncio.shield(self._look)
            except TimeoutError:
                problem = f"asking the swarm takes longer than {self._patience:g} s"
                return [Standing(name, None, (), problem) for name in self._models.hub_names]
        return self._standings

    async def _look_at_all(self) -> None:
        self._standings = [await asyncio.to_thread(self._standing, name) for name in self._models.hub_names]
        self._expires = self._clock() + self._lifetime

    def _standing(self, name: str) -> Standing:
        try:
            model = self._models.get(name)
            missing = model.missing_blocks()
        except Exception as error:
            return Standing(name, None, (), str(presentable(error)))
        problem = f"{name}: no server has blocks {ranges(missing)} of {model.num_blocks}" if missing else None
        return Standing(name, model.num_blocks, tuple(missing), problem)


def runs(numbers: Sequence[int]) -> list[Sequence[int]]:
    """Split sorted numbers where they leave one out."""
    cuts = [index for index, (one, two) in enumerate(pairwise(numbers), start=1) if two != one + 1]
    return [numbers[begin:end] for begin, end in pairwise([0, *cuts, len(numbers)])] if numbers else []


def ranges(numbers: Sequence[int]) -> str:
    """Write sorted numbers in short, such as "0-3, 7"."""
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs(numbers))


def readiness_router(readiness: Readiness) -> APIRouter:
    """Return the routes that probes and load balancers ask."""
    router = APIRouter()

    @router.get("/healthz")
    async def healthz() -> PlainTextResponse:
        return PlainTextResponse("alive\n")

    @router.get("/readyz")
    async def readyz() -> PlainTextResponse:
        ready, detail = await readiness.check()
        return PlainTextResponse(detail + "\n", status_code=200 if ready else 503)

    return router
