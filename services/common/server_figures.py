"""What a server says of itself beside what Petals knows: it travels with its announcement in the swarm's table.

Stock peers leave the additional key out when they read an announcement. Whoever reads it must expect anything, so the
bounds here are those of what can be true.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

KEY = "calyx"
"""The key of these figures among the fields of Petals' ``ServerInfo``."""
MAX_GPUS = 16

_Count = Annotated[int, Field(ge=0, le=10**15)]


class _Figures(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False, extra="ignore")


class GpuFigures(_Figures):
    """One GPU of a server, as NVIDIA's management library sees it."""

    name: str = Field(max_length=60)
    memory_used_bytes: _Count
    memory_total_bytes: _Count
    utilization: float | None = Field(default=None, ge=0, le=1)
    """Part of the last moments in which it computed."""
    temperature_celsius: float | None = Field(default=None, ge=-100, le=300)
    power_watts: float | None = Field(default=None, ge=0, le=10_000)


class ServerFigures(_Figures):
    """One server."""

    paused: bool = False
    """It left because its owner paused it, and comes back when its owner wants."""
    tokens_total: _Count = 0
    """Tokens that passed through its blocks since it started."""
    batches_total: _Count = 0
    """Passes through its blocks, each with the tokens of one session or of several."""
    queued_steps: _Count = 0
    """Steps that wait for the blocks now."""
    gpus: list[GpuFigures] = Field(default_factory=list, max_length=MAX_GPUS)
