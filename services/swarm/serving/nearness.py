"""Whether two ways to the same numbers differ by more than rounding."""

import torch

_TOLERANCE = {torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}
"""The most that results may differ, in parts of their length; a wrong mask or position makes half of it."""


def near(result: torch.Tensor, expected: torch.Tensor, *, rounded: bool = False) -> bool:
    """Tell whether a result is what was expected, but for the rounding of its type.

    Args:
        result: of any shape.
        expected: of the same shape and type.
        rounded: whether something on the way was rounded to 8 bits.
    """
    tolerance = max(_TOLERANCE[expected.dtype], _TOLERANCE[torch.bfloat16] if rounded else 0)
    return bool((result - expected).norm() <= tolerance * expected.norm())
