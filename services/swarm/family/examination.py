"""Finds out how a model and its layers work together, by running it without them, and each of them without it.

Blocks on different machines exchange nothing but hidden states. A layer that takes more from the model than what
follows from positions alone, or keeps more of a text than its own keys and values, cannot be a block.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree
from transformers import PreTrainedConfig, PreTrainedModel

from services.swarm.family.arena import ArenaCache
from services.swarm.family.hollow import Hollow

_CPU = torch.device("cpu")
_TOKENS = 3
NONSENSE = (AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError)
"""What code raises that is given something else than it was written for."""


class NotCuttable(Exception):
    """A reason why a model's layers cannot be blocks; half a sentence about the model."""


@dataclass(frozen=True)
class LayerContract:
    """What a model and its layers expect of each other.

    Attributes:
        cache_name: the argument that brings a layer its cache.
        in_tuple: whether a layer returns its hidden states as the first of a tuple.
        heads: how many keys and values a layer keeps of each token.
        head_size: how many numbers each of them has.
    """

    cache_name: str
    in_tuple: bool
    heads: int
    head_size: int


def examine(
    config: PreTrainedConfig,
    base_class: type[PreTrainedModel],
    layers_name: str,
    layers: Sequence[nn.Module],
) -> LayerContract:
    """Return what the model and its layers expect of each other.

    Args:
        config: the model's configuration.
        base_class: transformers' class of the model without its head.
        layers_name: name of the list of layers in it.
        layers: the layers, which may be without memory for their weights.

    Raises:
        NotCuttable: the layers need or keep something that a block on another machine could not.
    """
    random = torch.Generator().manual_seed(0)
    hollow = _hollow(config, base_class, layers_name, [type(layer) for layer in layers], random)
    _require_nothing_but_positions(hollow, config.hidden_size, random)

    past = ArenaCache(torch.empty(0), torch.empty(0), 0)
    hollow.run(torch.zeros(1, 1, config.hidden_size), past)
    given = hollow.inputs()
    names = {name for one in given for name, value in one.items() if value is past}
    if len(names) != 1 or not all(names <= one.keys() for one in given):
        raise NotCuttable("not all of its layers take a cache of keys and values")
    (cache_name,) = names
    shapes = {
        _kept_by(layer, index, one, cache_name, config.hidden_size)
        for index, (layer, one) in enumerate(zip(layers, given, strict=True))
    }
    if len(shapes) != 1:
        raise NotCuttable("its layers differ in the number or the size of their attention heads")
    return LayerContract(cache_name, hollow.in_tuple, *shapes.pop())


def _hollow(
    config: PreTrainedConfig,
    base_class: type[PreTrainedModel],
    layers_name: str,
    layer_classes: Sequence[type[nn.Module]],
    random: torch.Generator,
) -> Hollow:
    problems = []
    for in_tuple in (False, True):
        try:
            hollow = Hollow(config, base_class, layers_name, layer_classes, in_tuple, torch.float32, _CPU)
            if _passes_on_what_layers_return(hollow, config.hidden_size, random):
                return hollow
        except NONSENSE as error:
            problems.append(f" ({error})")
    raise NotCuttable(f"its layers exchange more than hidden states{(*problems, '')[0]}")


def _passes_on_what_layers_return(hollow: Hollow, hidden_size: int, random: torch.Generator) -> bool:
    shape = (2, _TOKENS, hidden_size)
    came: list[torch.Tensor] = []
    went: list[torch.Tensor] = []

    def answer(_: nn.Module, inputs: tuple[torch.Tensor, ...], output: Any) -> Any:
        # Something new, or it could not be told from what the model mixes in by itself
        came.append(inputs[0])
        went.append(torch.randn(shape, generator=random))
        return (went[-1],) if isinstance(output, tuple) else went[-1]

    hooks = [recorder.register_forward_hook(answer) for recorder in hollow.recorders]
    output = hollow.run(torch.randn(shape, generator=random), None)
    for hook in hooks:
        hook.remove()
    return len(came) == len(hooks) and output.shape == shape and all(map(torch.equal, came[1:], went))


def _require_nothing_but_positions(hollow: Hollow, hidden_size: int, random: torch.Generator) -> None:
    seen = []
    for _ in ("one text", "another text"):
        hollow.run(torch.randn(1, _TOKENS, hidden_size, generator=random), None)
        leaves = pytree.tree_leaves(hollow.inputs())
        seen.append([leaf.clone() for leaf in leaves if isinstance(leaf, torch.Tensor)])
    if len(seen[0]) != len(seen[1]) or not all(map(torch.equal, *seen)):
        raise NotCuttable("its layers take more from a text than the hidden states of the layer before")
    if any(_looks_ahead(one) for one in seen[0] if one.ndim == 4 and one.shape[-2:] == (_TOKENS, _TOKENS)):
        raise NotCuttable("its tokens see those that come after them")


def _looks_ahead(mask: torch.Tensor) -> bool:
    seen = mask if mask.dtype == torch.bool else mask > torch.finfo(mask.dtype).min / 2
    if not seen.diagonal(dim1=-2, dim2=-1).any():
        seen = ~seen  # no token is hidden from itself: this architecture marks what is hidden
    return bool((seen & torch.ones(_TOKENS, _TOKENS, dtype=torch.bool).triu(1)).any())


class _Kept(Exception):
    """Ends a layer's pass as soon as it has shown what it keeps."""


class _Witness(ArenaCache):
    """A cache that looks at what a layer brings, and ends the pass there: the rest may not run without weights."""

    def __init__(self) -> None:
        super().__init__(torch.empty(0), torch.empty(0), 0)
        self.kept: tuple[int, torch.Size, torch.Size] | None = None

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *_: object, **__: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Take the shapes."""
        self.kept = (layer_idx, key_states.shape, value_states.shape)
        raise _Kept


def _kept_by(
    layer: nn.Module, index: int, given: dict[str, Any], cache_name: str, hidden_size: int
) -> tuple[int, int]:
    weight = next(layer.parameters())

    def like_weight(one: torch.Tensor) -> torch.Tensor:
        return one.to(weight.device, weight.dtype if one.is_floating_point() else one.dtype)

    witness = _Witness()
    inputs = pytree.tree_map_only(torch.Tensor, like_weight, {**given, cache_name: None})
    hidden = torch.zeros(1, 1, hidden_size, dtype=weight.dtype, device=weight.device)
    problem = ""
    try:
        with torch.no_grad():
            layer(hidden, **{**inputs, cache_name: witness})
    except _Kept:
        pass
    except NONSENSE as error:
        problem = f" ({error})"
    if witness.kept is None or witness.kept[0] != index:
        raise NotCuttable(f"its layer {index} keeps no keys and values of its own{problem}")
    _, keys, values = witness.kept
    if len(keys) != 4 or keys != values:
        raise NotCuttable("its keys and values are not of one shape")
    return keys[1], keys[3]
