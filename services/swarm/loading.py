"""Turns weights into the parts of a model that one process needs: single blocks, or the ends without blocks.

transformers' own loader does the work, on a model that consists of nothing but the wanted part. So everything it
knows about old names, merged experts and tied heads holds for a single block too.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from services.common.errors import Broken
from services.swarm.adapters import Adapter
from services.swarm.family.anatomy import Anatomy
from services.swarm.family.block import DecoderBlock
from services.swarm.family.hollow import argument_names
from services.swarm.family.layer_inputs import LayerInputs
from services.swarm.family.prepacked import prepack
from services.swarm.family.quantized import Quantization, parameter_bytes, quantize
from services.swarm.files import ModelFiles


def _only(
    base: type[PreTrainedModel], build: Callable[..., None], mixin: type = object, **attributes: Any
) -> type[PreTrainedModel]:
    """Derive a class of which ``build`` makes only a part; transformers finds its weight conversions by name."""
    bases = (base,) if mixin is object else (mixin, base)
    return type(base.__name__, bases, {"__init__": build, "__module__": base.__module__} | attributes)


def _load_exactly(
    shell: type[PreTrainedModel],
    anatomy: Anatomy,
    weights: dict[str, torch.Tensor],
    dtype: torch.dtype,
    what: str,
) -> PreTrainedModel:
    try:
        model, report = shell.from_pretrained(
            None,
            config=anatomy.config,
            state_dict=weights,
            dtype=dtype,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are in the report, which is looked at below
        )
    except RuntimeError as error:
        raise Broken(
            f"weights of {what} cannot be loaded: {error}", "get a good copy of the model"
        ) from error
    wrong = sorted([*report["missing_keys"], *(name for name, *_ in report["mismatched_keys"])])
    if wrong:
        raise Broken(f"weights of {what} are missing or of another shape: {', '.join(wrong[:3])}")
    return model.eval().requires_grad_(False)


def load_block(
    files: ModelFiles,
    anatomy: Anatomy,
    index: int,
    inputs: LayerInputs,
    *,
    quantization: Quantization = "none",
    adapters: Iterable[Adapter] = (),
    prepacked: bool = True,
) -> DecoderBlock:
    """Load decoder layer ``index``, what adapters have for it, and nothing else.

    Args:
        files: where the weights are.
        anatomy: the model's parts.
        index: the layer's number in the model.
        inputs: shared by all blocks of a server; its type and device are theirs.
        quantization: how linear layers keep their weights.
        adapters: the LoRA adapters that may be chosen.
        prepacked: whether weights that are not quantized are laid out for the device's products.

    Raises:
        Broken: weights are missing, of another shape or unreadable.
        InvalidInput: an adapter is not made for this model.
    """

    def build(self: PreTrainedModel, config: Any) -> None:
        PreTrainedModel.__init__(self, config)
        layer = anatomy.layer_classes[index](config, index)
        setattr(self, anatomy.layers_name, nn.ModuleDict({str(index): layer}))
        self.post_init()

    weights = files.weights(lambda name: anatomy.block_of(name) == index)
    model = _load_exactly(
        _only(anatomy.base_class, build), anatomy, weights, inputs.dtype, f"block {index} of {files.name}"
    )
    layer = getattr(model, anatomy.layers_name)[str(index)].to(inputs.device)
    if quantization == "none" and prepacked:
        prepack(layer)
    elif quantization != "none":
        quantize(layer, quantization, inputs.device)
    _let_go_of_file(layer)
    block = DecoderBlock(anatomy, index, layer, inputs)
    for adapter in adapters:
        block.adapters.add(adapter.name, adapter.config, adapter.weights(index), inputs.dtype)
    return block


def _let_go_of_file(layer: nn.Module) -> None:
    """Copy the tensors that were neither quantized nor laid out anew.

    They lie in a mapping of the model's file, and while one of them is in use, so is all that was read of the others.
    """
    for tensor in (*layer.parameters(), *layer.buffers()):
        if tensor.device.type == "cpu" and not tensor.is_mkldnn:
            tensor.data = tensor.data.clone()


def load_ends(
    files: ModelFiles, anatomy: Anatomy, *, dtype: torch.dtype, middle: nn.Module, mixin: type = object
) -> PreTrainedModel:
    """Load embeddings, final norm and head, with ``middle`` in the place of all decoder layers.

    Args:
        files: where the weights are.
        anatomy: the model's parts.
        dtype: type of the weights.
        middle: called once per pass with hidden states [batch, tokens, hidden] and ``past_key_values``; returns
            hidden states of the same shape.
        mixin: a class put in front of the model's own; it finds the list that holds ``middle`` by its attribute
            ``layers_name``.

    Raises:
        Broken: weights are missing, of another shape or unreadable.
    """

    def build(self: PreTrainedModel, config: Any) -> None:
        anatomy.causal_lm_class.__init__(self, config)
        setattr(self.base_model, anatomy.layers_name, nn.ModuleList())

    weights = files.weights(lambda name: anatomy.block_of(name) is None)
    shell = _only(anatomy.causal_lm_class, build, mixin, layers_name=anatomy.layers_name)
    model = _load_exactly(shell, anatomy, weights, dtype, f"the ends of {files.name}")
    _call_as_layer(middle, anatomy)
    getattr(model.base_model, anatomy.layers_name).append(middle)
    return model


def load_whole(files: ModelFiles, anatomy: Anatomy, *, dtype: torch.dtype) -> PreTrainedModel:
    """Load a model with all its blocks, onto the CPU.

    Raises:
        Broken: weights are missing, of another shape or unreadable.
    """
    return _load_exactly(anatomy.causal_lm_class, anatomy, files.weights(lambda _: True), dtype, files.name)


def _call_as_layer(middle: nn.Module, anatomy: Anatomy) -> None:
    """Let the model call ``middle`` as it calls its layers, whatever it names the cache and expects in return."""
    contract = anatomy.contract
    names = argument_names(anatomy.layer_classes[0])

    def take(
        _: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        given = dict(zip(names, inputs[1:], strict=False)) | named
        return inputs[:1], {"past_key_values": given.get(contract.cache_name)}

    middle.register_forward_pre_hook(take, with_kwargs=True)
    if contract.in_tuple:
        middle.register_forward_hook(lambda _, inputs, output: (output,))


def block_bytes(
    anatomy: Anatomy,
    dtype: torch.dtype,
    device: torch.device,
    quantization: Quantization = "none",
    adapters: Iterable[Adapter] = (),
) -> int:
    """Return how many bytes the weights of the largest block take in the device's memory, with all adapters."""
    with torch.device("meta"):
        sizes = {
            layer_class: parameter_bytes(layer_class(anatomy.config, index), dtype, quantization, device)
            for index, layer_class in enumerate(anatomy.layer_classes)
        }
    return max(sizes.values()) + sum(adapter.block_bytes(dtype) for adapter in adapters)
