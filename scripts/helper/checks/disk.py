"""Enough space for images and weights."""

from scripts.helper.checks.check import Check
from scripts.helper.checks.machine import Machine

_TIMES_GPU_MEMORY = 4
_WITHOUT_GPU = 10 * 1000**3


def check_disk(machine: Machine) -> Check:
    """Judge the free space where the engine keeps images: four times the GPU memory, 10 GB without a GPU."""
    needed = _TIMES_GPU_MEMORY * sum(gpu.memory_total for gpu in machine.gpus) or _WITHOUT_GPU
    free = f"{machine.disk_free / 1000**3:.0f} GB free at {machine.disk_path}"
    if machine.disk_free < needed:
        return Check(
            "disk",
            "fail",
            f"{free} of at least {needed / 1000**3:.0f} GB",
            "free some space (docker system df shows what images take), or move the engine's data-root",
        )
    return Check("disk", "ok", free)
