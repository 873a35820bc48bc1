"""``/healthz``: the process lives. ``/readyz``: a model is loaded and the swarm has every block of it."""

import asyncio
import time
from collections.abc import Callable, Sequence
from itertools import pairwise

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse

from services.endpoint.errors import presentable
from services.endpoint.models import Models


class Readiness:
    """Answers whether a model can be used now.

    However many ask, the swarm is asked at most once per ``lifetime``.

    Args:
        models: the models to look at; one that works is enough.
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
        self._verdict = (False, "not checked yet")
        self._expires = float("-inf")
        self._look: asyncio.Task[None] | None = None

    async def check(self) -> tuple[bool, str]:
        """Return whether some model can be used, and one line saying which or why none."""
        if self._clock() >= self._expires:
            if self._look is None or self._look.done():
                self._look = asyncio.create_task(self._look_at_all())
            try:
                async with asyncio.timeout(self._patience):
                    await asyncio.shield(self._look)
            except TimeoutError:
                return False, f"asking the swarm takes longer than {self._patience:g} s"
        return self._verdict

    async def _look_at_all(self) -> None:
        ready, problems = [], []
        for name in self._models.hub_names:
            problem = await asyncio.to_thread(self._problem, name)
            if problem is None:
                ready.append(name)
            else:
                problems.append(problem)
        problem = "; ".join(problems) or "no model is served yet"
        self._verdict = (True, f"ready: {', '.join(ready)}") if ready else (False, problem)
        self._expires = self._clock() + self._lifetime

    def _problem(self, name: str) -> str | None:
        try:
            model = self._models.get(name)
            missing = model.missing_blocks()
        except Exception as error:
            return str(presentable(error))
        if not missing:
            return None
        return f"{name}: no server has blocks {ranges(missing)} of {model.num_blocks}"


def ranges(numbers: Sequence[int]) -> str:
    """Write sorted numbers in short, such as "0-3, 7"."""
    cuts = [index for index, (one, two) in enumerate(pairwise(numbers), start=1) if two != one + 1]
    runs = [numbers[begin:end] for begin, end in pairwise([0, *cuts, len(numbers)])]
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


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
