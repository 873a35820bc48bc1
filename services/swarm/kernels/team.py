"""Keeps the threads that compute together on cores of their own.

They sleep between two products and wake each other, and where all cores were busy lately Linux looks for no other one
and wakes a thread where the waking one runs. Then both share a core, and a batch takes twice as long, until some
milliseconds later the load is balanced.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import torch

from services.swarm import kernels

_SIBLINGS = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"

Core = tuple[int, ...]
"""The processors that share it."""


def cores() -> list[Core]:
    """Return the cores that the calling thread may use, without processors that it may not; none if nobody knows."""
    allowed = os.sched_getaffinity(0)
    try:
        siblings = {_numbers(Path(_SIBLINGS.format(cpu)).read_text()) & allowed for cpu in allowed}
    except OSError:
        return []
    return sorted(tuple(sorted(one)) for one in siblings)


def bind_team(own: Sequence[Core]) -> None:
    """Let the calling thread, and those that it computes with, each have one of these cores, which are all alike.

    Threads that it starts later would have to do with its own core.
    """
    if kernels.OPERATORS is not None:
        kernels.OPERATORS.bind_team(torch.tensor(own))


def _numbers(listed: str) -> frozenset[int]:
    """Return the numbers of a list as the kernel writes it, such as ``0-2,8``."""
    ranges = (part.split("-") for part in listed.strip().split(","))
    return frozenset(number for ends in ranges for number in range(int(ends[0]), int(ends[-1]) + 1))
