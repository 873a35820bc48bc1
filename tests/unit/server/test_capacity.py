"""How many blocks a machine holds, and what it says if it cannot hold one."""

from pathlib import Path

import psutil
import pytest
import torch

from services.common.errors import InvalidSetting, Unavailable
from services.server.capacity import blocks_that_fit, choose_device, free_memory, reserve

GIB = 1024**3


@pytest.mark.parametrize(
    ("free", "reserve", "block", "cache", "count"),
    [
        (10 * GIB, 2 * GIB, GIB, GIB, 4),
        (10 * GIB, 2 * GIB, GIB, 0, 8),
        (4 * GIB, 2 * GIB, GIB, GIB, 1),
        (10 * GIB, 0, 3 * GIB, 0, 3),
    ],
)
def test_blocks_are_counted_with_their_caches(
    free: int, reserve: int, block: int, cache: int, count: int
) -> None:
    assert blocks_that_fit(free, reserve, block, cache) == count


@pytest.mark.parametrize(
    ("free", "left"), [(4 * GIB - 1, "2.00"), (2 * GIB, "0.00"), (GIB, "0.00"), (0, "0.00")]
)
def test_no_memory_for_one_block(free: int, left: str) -> None:
    with pytest.raises(Unavailable) as refused:
        blocks_that_fit(free, 2 * GIB, GIB, GIB)

    assert str(refused.value) == (
        f"one block takes 2.00 GiB with its cache, and {left} GiB are free beside the reserve of 2 GiB — "
        "free memory, lower CALYX_ATTN_CACHE_TOKENS, or choose a smaller model"
    )


def test_what_is_left_free_depends_on_what_runs_beside_the_blocks() -> None:
    gpu = torch.device("cuda", 1)

    assert reserve(torch.device("cpu"), cuda_graphs=False) == 2 * GIB
    assert reserve(gpu, cuda_graphs=False) == GIB
    assert reserve(gpu, cuda_graphs=True) == 2 * GIB


def cgroup(folder: Path, limit: str | None, used: str | None) -> Path:
    for name, value in (("memory.max", limit), ("memory.current", used)):
        if value is not None:
            (folder / name).write_text(value)
    return folder


def test_a_container_s_limit_counts(tmp_path: Path) -> None:
    assert free_memory(torch.device("cpu"), cgroup(tmp_path, "3000000\n", "1000000\n")) == 2000000


@pytest.mark.parametrize(
    ("limit", "used"), [("max\n", "1\n"), (None, None), ("nonsense", "1"), (str(2**62), "1000"), ("1", None)]
)
def test_without_a_limit_the_machine_s_memory_counts(
    tmp_path: Path, limit: str | None, used: str | None
) -> None:
    free = free_memory(torch.device("cpu"), cgroup(tmp_path, limit, used))

    assert 0 < free <= psutil.virtual_memory().total


def test_a_processor_is_always_there() -> None:
    assert choose_device("cpu") == torch.device("cpu")


def test_auto_takes_a_gpu_if_there_is_one() -> None:
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_a_gpu_that_is_not_there() -> None:
    with pytest.raises(
        InvalidSetting, match=r"device cuda:99 is not there, \d+ GPUs are visible — set CALYX_DEVICE"
    ):
        choose_device("cuda:99")
