"""What a task hears whose steps ran in batches."""

from concurrent.futures import Future
from typing import Any

import pytest
import torch

from services.swarm.serving.batching_pool import _Asked
from services.swarm.serving.pool import Task, _unpack
from services.swarm.serving.scheduler import Step


def heard(outcome: torch.Tensor | Exception) -> Future[list[Any]]:
    """Return what a task of one step hears when that has come to this."""
    hidden, reply = torch.zeros(1, 2, 4), Future[list[Any]]()
    step = Step(hidden, 0, 0, range(1))
    asked = _Asked(Task(0.0, 0.0, reply, (hidden, None)), [step])
    assert asked.note(step, outcome)
    asked.answer()
    return reply


def test_it_hears_the_outputs() -> None:
    (output,) = heard(torch.ones(1, 2, 4)).result()

    assert _unpack(output).equal(torch.ones(1, 2, 4))


def test_it_hears_what_its_step_failed_on() -> None:
    with pytest.raises(KeyError, match="nobody"):
        heard(KeyError("nobody")).result()


def test_it_hears_that_its_outputs_cannot_be_fetched() -> None:
    """As from a GPU, which fails behind the program's back."""
    with pytest.raises(NotImplementedError, match="meta"):
        heard(torch.empty(1, 2, 4, device="meta")).result()
