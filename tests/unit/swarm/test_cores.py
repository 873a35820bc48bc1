"""How many cores a batch computes on: all, or one less while steps of other sessions are on their way."""

from collections.abc import Iterator

import pytest
import torch

from services.swarm.serving.cores import Cores

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def four_cores() -> Iterator[None]:
    usual = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(usual)


def used(cores: Cores, **batch: int) -> int:
    """Return on how many cores a batch runs of so many tokens for each session."""
    cores.suit(batch)
    return torch.get_num_threads()


def test_one_session_has_all() -> None:
    cores = Cores(CPU)

    assert [used(cores, a=tokens) for tokens in (20, 1, 1)] == [4, 4, 4]


def test_several_that_run_together_have_all() -> None:
    cores = Cores(CPU)

    assert [used(cores, a=1, b=1) for _ in range(3)] == [4, 4, 4]


def test_prompts_have_all() -> None:
    cores = Cores(CPU)
    used(cores, a=1)

    assert used(cores, b=1) == 3
    assert used(cores, c=20) == 4


def test_sessions_that_take_turns_leave_one() -> None:
    cores = Cores(CPU)
    used(cores, a=1)

    assert used(cores, b=1) == 3
    assert used(cores, a=1) == 3


def test_who_is_left_alone_has_all_again_soon() -> None:
    cores = Cores(CPU)
    used(cores, a=1, b=1)

    assert [used(cores, a=1) for _ in range(10)] == [3] * 8 + [4] * 2


def test_a_single_core_is_not_given_away() -> None:
    torch.set_num_threads(1)
    cores = Cores(CPU)

    assert [used(cores, a=1), used(cores, b=1)] == [1, 1]


def test_beside_a_gpu_nothing_changes() -> None:
    cores = Cores(torch.device("cuda"))

    assert [used(cores, a=1), used(cores, b=1)] == [4, 4]
