"""``GET /api/v2/models``: which models are served here, and which of them can be used now."""

from fastapi import APIRouter
from pydantic import BaseModel

from services.endpoint.readiness import Readiness, Standing, runs


class BlockRange(BaseModel):
    """Blocks from ``start_block`` to before ``end_block``."""

    start_block: int
    end_block: int


class ModelStatus(BaseModel):
    """How a model stands; while it is not loaded, nobody knows its blocks."""

    name: str
    ready: bool
    num_blocks: int | None
    missing_blocks: list[BlockRange]
    problem: str | None


class ModelList(BaseModel):
    """The models of this endpoint, the default one first."""

    models: list[ModelStatus]


def model_status_router(readiness: Readiness) -> APIRouter:
    """Return the route, which asks the swarm no more often than ``readiness`` does."""
    router = APIRouter()

    @router.get("/api/v2/models")
    async def models() -> ModelList:
        """List the models that are served here, and say which can be used now."""
        return ModelList(models=[_status(standing) for standing in await readiness.standings()])

    return router


def _status(standing: Standing) -> ModelStatus:
    return ModelStatus(
        name=standing.name,
        ready=standing.problem is None,
        num_blocks=standing.num_blocks,
        missing_blocks=[
            BlockRange(start_block=run[0], end_block=run[-1] + 1) for run in runs(standing.missing)
        ],
        problem=standing.problem,
    )
