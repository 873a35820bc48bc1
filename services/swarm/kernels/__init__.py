"""Operators of our own for a CPU: what lies between the matrix products of a decoder layer, and whole layers.

``cpu.cpp`` and ``layer.cpp`` say why. ``build.py`` makes the library, which the image has and ``scripts/kernels``
makes for tests; on other processors than those with AVX2, and where nobody made it, blocks compute with torch's
operators.
"""

import logging
from pathlib import Path
from typing import Any

import torch

LIBRARY = Path(__file__).with_name("cpu.so")
logger = logging.getLogger(__name__)

_PROCESSORS = ("AVX2", "AVX512")
_TYPES = (torch.float32, torch.bfloat16)


def _load() -> Any:
    if not LIBRARY.exists() or not torch.backends.cpu.get_cpu_capability().startswith(_PROCESSORS):
        return None
    try:
        torch.ops.load_library(str(LIBRARY))
    except OSError as error:
        logger.warning("blocks compute with torch's operators: %s — make %s again", error, LIBRARY.name)
        return None
    return torch.ops.calyx


OPERATORS: Any = _load()
"""The operators as the sources beside this define them; None if there are none for this machine."""


def compute(tensor: torch.Tensor) -> bool:
    """Tell whether there are operators for numbers of this type where they are."""
    return OPERATORS is not None and tensor.device.type == "cpu" and tensor.dtype in _TYPES
