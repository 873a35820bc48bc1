"""What becomes of a step that a server was asked to pass on to the one behind."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Heard:
    """An answer to it.

    Attributes:
        outputs: of the server behind, or of the first one if that has not passed on.
        passed_on: whether it has.
    """

    outputs: torch.Tensor
    passed_on: bool


class NextFailed(Exception):
    """The server behind failed, whatever the first one did; the cause says how."""
