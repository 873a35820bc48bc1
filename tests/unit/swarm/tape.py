"""Records and repeats operators on a CPU as CUDA graphs do: on fixed memory, and without an answer to Python."""

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from services.swarm.serving.decode_graphs import Replay

_ATEN = torch.ops.aten
_FORBIDDEN = {
    _ATEN._local_scalar_dense.default: "Python asks for a number",
    _ATEN.item.default: "Python asks for a number",
    _ATEN.is_nonzero.default: "Python asks for a number",
    _ATEN.nonzero.default: "a size depends on numbers",
    _ATEN.lift_fresh.default: "numbers come from Python",
}
"""What a capture does not permit, or what would stay as it was once."""


class Tape(TorchDispatchMode):
    """Writes down every operator that runs inside, with its tensors."""

    def __init__(self) -> None:
        super().__init__()
        self._done: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _FORBIDDEN:
            raise RuntimeError(f"not permitted while recording: {_FORBIDDEN[func]} ({func})")
        result = func(*args, **(kwargs or {}))
        self._done.append((func, args, kwargs or {}, result))
        return result

    def replay(self) -> None:
        """Run the same operators on the same memory; their results go where the first ones are."""
        for func, args, kwargs, result in self._done:
            again = func(*args, **kwargs)
            for old, new in zip(tree_leaves(result), tree_leaves(again), strict=True):
                # Views and what was written in place are there already
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


class Tapes:
    """Records as ``CudaGraphs`` does."""

    def __init__(self) -> None:
        self.recorded = self.replayed = 0

    def record(self, tick: Replay) -> Replay:
        with Tape() as tape:
            output = tick()
        self.recorded += 1

        def replay() -> torch.Tensor:
            self.replayed += 1
            tape.replay()
            return output

        return replay
