"""What a model would hand to each of its layers in one step: masks, positions, rotary embeddings.

Every architecture of transformers computes these in its own ``forward``. Instead of imitating each, we let that
``forward`` run without weights and layers, once per step for all blocks together.
"""

from typing import Any

import torch
from transformers.cache_utils import Cache

from services.common.errors import InvalidInput
from services.swarm.family.anatomy import Anatomy
from services.swarm.family.hollow import Hollow
from services.swarm.family.position_table import Arguments, KnownPositions, PositionTable


class NotPackable(Exception):
    """A reason why tokens of several texts cannot run through a layer in one row; half a sentence about the layer."""


class LayerInputs:
    """Computes and remembers the inputs of all layers for the step that runs now.

    Args:
        anatomy: the model's parts.
        dtype: type of the hidden states.
        device: where the blocks run.
    """

    def __init__(self, anatomy: Anatomy, dtype: torch.dtype, device: torch.device) -> None:
        self._hollow = Hollow(
            anatomy.config,
            anatomy.base_class,
            anatomy.layers_name,
            anatomy.layer_classes,
            anatomy.contract.in_tuple,
            dtype,
            device,
        )
        self.dtype, self.device = dtype, device
        self._cache_name, self._exact_length = anatomy.contract.cache_name, anatomy.exact_length
        self._step: tuple[int, torch.Size, bool] | None = None
        self._inputs: Arguments = []
        self._width = anatomy.config.hidden_size
        self._packed = PositionTable(self._compute_packed)

    def of(
        self, block: int, hidden_states: torch.Tensor, position: int, past: Cache | None
    ) -> dict[str, Any]:
        """Return the keyword arguments for one layer.

        Args:
            block: the layer's number.
            hidden_states: [batch, tokens, hidden]; only its shape, type and device matter.
            position: how many tokens the session has processed before these.
            past: the layer's cache, which goes into the arguments; None for a pass without a cache.

        Raises:
            InvalidInput: the text is longer than the positions of this model can be kept for.
        """
        step = (position, hidden_states.shape, past is None)
        if step != self._step:
            self._require_exact(position + hidden_states.shape[1])
            self._hollow.run(hidden_states, past)
            self._inputs, self._step = self._hollow.inputs(), step
        return self._inputs[block] | {self._cache_name: past}

    def packed(self, positions: torch.Tensor, end: int) -> Arguments:
        """Return the keyword arguments for all layers when tokens of several texts lie in one row.

        Args:
            positions: each token's place in its own text, [1, tokens].
            end: more than each of them.

        Raises:
            NotPackable: how a token is turned depends on the longest text in the row.
        """
        if self._exact_length is not None:
            raise NotPackable("its positions depend on the length of the text")
        return self._packed.of(positions, end)

    def packed_before(self, end: int) -> KnownPositions | None:
        """Return what ``packed`` does for all positions before ``end``, or None where more than these decides."""
        return None if self._exact_length is not None else self._packed.known(end, self.device)

    def _compute_packed(self, positions: torch.Tensor) -> Arguments:
        zero = torch.zeros(1, dtype=self.dtype, device=self.device)
        hidden_states = zero.expand(*positions.shape, self._width)
        # A mask of four dimensions is passed on as it is, so that none is made; whoever attends knows whose tokens
        # these are
        no_mask = torch.zeros(1, 1, 1, 1, dtype=self.dtype, device=self.device)
        self._hollow.run(hidden_states, None, position_ids=positions, attention_mask=no_mask)
        self._step = None
        return self._hollow.inputs()

    def _require_exact(self, length: int) -> None:
        if self._exact_length is not None and length > self._exact_length:
            raise InvalidInput(
                f"a text of {length} tokens: beyond {self._exact_length}, each token would change all positions",
                f"keep to {self._exact_length} tokens with this model",
            )
