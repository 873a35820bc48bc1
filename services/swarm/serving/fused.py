"""The commonest decoder layer in few operations: that of Llama, Mistral, Qwen and all that is built like them.

The layer's own code is some sixty calls of torch for a step, which takes a CPU longer than the products of a single
token. The same in eleven: oneDNN's products multiply and activate what they have just computed, and operators of ours
do the rest (``services.swarm.kernels``). Where the MLP is a gated one and no piece of a batch is long, one call does
all of it. A layer is recognized by the names of its parts; what it has beyond them is found out by comparing numbers,
so what only looks alike keeps its own code.

From layer to layer hidden states go in float32, whatever the weights are: the sums of many layers are where bfloat16
loses most. So results are about twice as near to the exact ones as transformers' own; steps take as long.
"""

from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import nn
from transformers.activations import SiLUActivation

from services.swarm import kernels
from services.swarm.family.prepacked import PrepackedLinear
from services.swarm.serving.attention import FEW_TOKENS, PackedCache, Rules, attend

_PARTS = {"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"}
_PROJECTIONS = {"q_proj", "k_proj", "v_proj", "o_proj"}
_NORMS = {"q_norm", "k_norm"}
_GATED = {"gate_proj", "up_proj", "down_proj"}


class NotFusable(Exception):
    """A layer is of another kind."""


@dataclass(frozen=True)
class _Norm:
    """Root mean square layer normalization (Zhang and Sennrich 2019, https://arxiv.org/abs/1910.07467)."""

    weight: torch.Tensor
    epsilon: float

    @classmethod
    def of(cls, module: nn.Module) -> Self:
        epsilon = getattr(module, "variance_epsilon", getattr(module, "eps", None))
        parameters = dict(module.named_parameters())
        if not isinstance(epsilon, float) or parameters.keys() != {"weight"}:
            raise NotFusable
        return cls(parameters["weight"], epsilon)

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = kernels.OPERATORS.rms_norm(inputs, self.weight, self.epsilon)
        return outputs

    def of_sum(self, hidden: torch.Tensor, more: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the sum of both in float32, and its norm."""
        total, normed = kernels.OPERATORS.add_and_norm(hidden, more, self.weight, self.epsilon)
        return total, normed


class _GatedUnit:
    """A gated MLP with SiLU (Shazeer 2020, https://arxiv.org/abs/2002.05202)."""

    def __init__(self, gate: PrepackedLinear, up: PrepackedLinear, down: PrepackedLinear) -> None:
        self.products = self._gate, self._up, self._down = gate, up, down

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = self._down(self._up.times(inputs, self._gate.silu(inputs)))
        return outputs


class _OtherUnit:
    """Whatever else stands behind attention: experts, other activations."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        output = self._module(inputs[None])
        outputs: torch.Tensor = (output[0] if isinstance(output, tuple) else output)[0]
        return outputs


class FusedLayer:
    """A decoder layer without adapters, for the tokens of a batch.

    Args:
        layer: the layer, whose weights are used.
        rules: what it says to its attention.

    Raises:
        NotFusable: it is not of this kind.
    """

    def __init__(self, layer: Any, rules: Rules) -> None:
        if _names(layer) != _PARTS:
            raise NotFusable
        attention = layer.self_attn
        if not _PROJECTIONS <= _names(attention) <= _PROJECTIONS | _NORMS:
            raise NotFusable
        self._rules = rules
        self._query, self._key, self._value, self._output = (
            _prepacked(getattr(attention, name)) for name in ("q_proj", "k_proj", "v_proj", "o_proj")
        )
        self._before, self._between = (
            _Norm.of(layer.input_layernorm),
            _Norm.of(layer.post_attention_layernorm),
        )
        normed = _names(attention) >= _NORMS
        self._norms = (_Norm.of(attention.q_norm), _Norm.of(attention.k_norm)) if normed else None
        self._unit = _unit(layer.mlp)
        self._whole = self._in_one_call(self._unit) if isinstance(self._unit, _GatedUnit) else None

    def _in_one_call(self, unit: _GatedUnit) -> Any:
        norms = [self._before, self._between, *(self._norms or ())]
        products = [self._query, self._key, self._value, self._output, *unit.products]
        return torch.classes.calyx.GatedLayer(
            [norm.weight for norm in norms],
            [norm.epsilon for norm in norms],
            [product.weight for product in products],
            [product.bias for product in products],
        )

    def run(self, hidden: torch.Tensor, given: dict[str, Any], cache: PackedCache) -> torch.Tensor:
        """Run the tokens [tokens, hidden] of a batch; write their keys and values.

        Args:
            hidden: the tokens, of the layer's type or in float32; as many rows as ``prepacked.rows_computed`` says.
            given: what the model hands to the layer.
            cache: its keys and values.

        Returns:
            The layer's output in float32, shaped like ``hidden``.
        """
        cosines, sines = given["position_embeddings"]
        seen = cache.batch.seen(self._rules.window, FEW_TOKENS)
        if self._whole is None or seen.others:
            return self._run_in_parts(hidden, cosines[0], sines[0], cache)
        output: torch.Tensor = self._whole.run(
            hidden,
            cosines[0],
            sines[0],
            cache.keys,
            cache.values,
            cache.batch.slots,
            seen.starts,
            seen.lengths,
            self._rules.scale_for(cache.keys.shape[2]),
            self._rules.softcap or 0.0,
        )
        return output

    def _run_in_parts(
        self, hidden: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor, cache: PackedCache
    ) -> torch.Tensor:
        size = cache.keys.shape[2]
        inputs = self._before(hidden)
        query, key = self._query(inputs).unflatten(1, (-1, size)), self._key(inputs).unflatten(1, (-1, size))
        if self._norms is not None:
            query, key = (norm(heads) for norm, heads in zip(self._norms, (query, key), strict=True))
        value = self._value(inputs).unflatten(1, (-1, cache.values.shape[2]))
        query = kernels.OPERATORS.rotate_and_keep(
            query, key, value, cosines, sines, cache.keys, cache.values, cache.batch.slots
        )
        attended = self._output(attend(query, cache, self._rules).flatten(1))
        total, inputs = self._between.of_sum(hidden, attended)
        return total + self._unit(inputs)


def _names(module: Any) -> set[str]:
    return {name for name, _ in module.named_children()}


def _prepacked(module: nn.Module) -> PrepackedLinear:
    linear = getattr(module, "base_layer", module)  # peft's layers lie around those of the block
    if not isinstance(linear, PrepackedLinear):
        raise NotFusable
    return linear


def _unit(module: Any) -> _GatedUnit | _OtherUnit:
    if _names(module) - {"act_fn"} == _GATED and isinstance(module.act_fn, nn.SiLU | SiLUActivation):
        return _GatedUnit(
            *(_prepacked(getattr(module, name)) for name in ("gate_proj", "up_proj", "down_proj"))
        )
    return _OtherUnit(module)
