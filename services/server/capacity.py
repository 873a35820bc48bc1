"""What this machine can hold: which device, and how many blocks fit into its memory."""

from pathlib import Path

import psutil
import torch

from services.common.errors import InvalidSetting, Unavailable

_GIB = 1024**3
_CGROUP = Path("/sys/fs/cgroup")
_CPU_RESERVE = 2 * _GIB
"""Left free on a CPU: Python, torch and its threads' buffers, connection handlers."""
_GPU_RESERVE = _GIB
"""Left free on a GPU: CUDA's context and the activations of a chunk of prefill."""
_GRAPHS_RESERVE = _GIB
"""Left free for CUDA graphs beside that; reckoned: some sixteen of them, and copies of 32 texts' keys and values."""


def choose_device(wanted: str) -> torch.device:
    """Return the device that the setting names; ``auto`` is the first GPU, or the CPU if there is none.

    Raises:
        InvalidSetting: a GPU is wanted that is not there.
    """
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(wanted)
    if device.type == "cuda":
        index = device.index or 0
        if index >= torch.cuda.device_count():
            raise InvalidSetting(
                f"device {wanted} is not there, {torch.cuda.device_count()} GPUs are visible",
                "set CALYX_DEVICE=auto, or check the NVIDIA driver and container toolkit",
            )
        return torch.device("cuda", index)
    return device


def free_memory(device: torch.device, cgroup: Path = _CGROUP) -> int:
    """Return the bytes that a new allocation may take on the device, within the container's own limit."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free)
    available = int(psutil.virtual_memory().available)
    try:
        limit = (cgroup / "memory.max").read_text().strip()
        used = int((cgroup / "memory.current").read_text())
        return available if limit == "max" else min(available, int(limit) - used)
    except (OSError, ValueError):
        return available


def reserve(device: torch.device, *, cuda_graphs: bool) -> int:
    """Return the bytes of the device that are left to what is neither weights nor attention cache."""
    if device.type == "cuda":
        return _GPU_RESERVE + (_GRAPHS_RESERVE if cuda_graphs else 0)
    return _CPU_RESERVE


def blocks_that_fit(free: int, reserve: int, block_bytes: int, cache_bytes_per_block: int) -> int:
    """Return how many blocks, each with its share of the attention cache, fit into ``free`` bytes.

    Raises:
        Unavailable: not even one fits.
    """
    per_block = block_bytes + cache_bytes_per_block
    count = (free - reserve) // per_block
    if count < 1:
        left = max(0, free - reserve)
        raise Unavailable(
            f"one block takes {per_block / _GIB:.2f} GiB with its cache, and {left / _GIB:.2f} GiB are free "
            f"beside the reserve of {reserve / _GIB:.0f} GiB",
            "free memory, lower CALYX_ATTN_CACHE_TOKENS, or choose a smaller model",
        )
    return count
