"""LoRA adapters of peft that servers add to their blocks: which are to be served, and what of them a block needs."""

from collections.abc import Iterable, Sequence
from dataclasses import fields
from math import prod
from typing import Any

import torch
from peft import LoraConfig, PeftConfig

from services.common.errors import Broken, InvalidInput
from services.common.settings import SwarmSettings
from services.swarm.family.adapted import module_of
from services.swarm.family.anatomy import Anatomy
from services.swarm.family.examination import NotCuttable
from services.swarm.hub_errors import ADAPTER
from services.swarm.repository import Repository

_CONFIG = "adapter_config.json"
_WEIGHTS = "adapter_model.safetensors"
_OF_A_BLOCK = {
    *("task_type", "peft_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision"),
    *("inference_mode", "init_lora_weights", "lora_dropout", "runtime_config", "loftq_config"),
    *("qalora_group_size", "megatron_core"),
    *("r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern", "lora_bias", "fan_in_fan_out"),
    *("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern"),
}
"""Settings of a LoRA that need nothing but a block's own linear layers, or have done their part in training."""
_UNCHANGED_MODEL = (True, False, "gaussian", "orthogonal")
"""Ways to begin a training that leave the model's own weights as they were."""


class AdapterFiles(Repository):
    """An adapter's files, found as a model's are; of the hub, always the default branch.

    Args:
        name: the adapter's name on the hub.
        settings: where to look for it.

    Raises:
        CalyxError: see ``Repository``.
    """

    def __init__(self, name: str, settings: SwarmSettings) -> None:
        super().__init__(name, settings.model_copy(update={"revision": None}), ADAPTER, _CONFIG)

    def config(self) -> PeftConfig:
        """Return what kind of adapter it is; raises as ``shapes`` does."""
        try:
            config: PeftConfig = self._read(
                _CONFIG, lambda path: PeftConfig.from_pretrained(str(path.parent))
            )
        except FileNotFoundError as error:
            raise Broken(f"{_CONFIG} of {self.name} is missing", "choose an adapter of peft") from error
        return config

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of each of its tensors, and read none.

        Raises:
            CalyxError: the file is not there, cannot be had or is corrupt.
        """
        shapes: dict[str, tuple[int, ...]] = self._read_shard(_WEIGHTS, _shapes)
        return shapes

    def tensors(self, names: Sequence[str]) -> dict[str, torch.Tensor]:
        """Read these tensors and no others; raises as ``shapes`` does."""
        tensors: dict[str, torch.Tensor] = self._read_shard(
            _WEIGHTS, lambda opened: {name: opened.get_tensor(name) for name in names}
        )
        return tensors


class Adapter:
    """An adapter that can be cut into blocks as its model is.

    Args:
        files: where its tensors are.
        anatomy: the model's parts.

    Raises:
        InvalidInput: it needs more than the blocks, or is of another kind; the message says what.
        CalyxError: its files cannot be had or read.
    """

    def __init__(self, files: AdapterFiles, anatomy: Anatomy) -> None:
        self._files, self.name = files, files.name
        try:
            self.config = _plain_lora(files.config())
            self._shapes = files.shapes()
            self._names = _by_block(self._shapes, anatomy)
        except NotCuttable as reason:
            raise InvalidInput(
                f"adapter {self.name} cannot be cut into blocks: {reason}", "serve another adapter"
            ) from reason

    def block_bytes(self, dtype: torch.dtype) -> int:
        """Return how many bytes it takes in the block of which it changes most."""
        numbers = (sum(prod(self._shapes[name]) for name in names) for names in self._names.values())
        return max(numbers) * dtype.itemsize

    def weights(self, block: int) -> dict[str, torch.Tensor]:
        """Read what it has for one block; nothing if it leaves the block as it is.

        Raises:
            CalyxError: see ``AdapterFiles``.
        """
        names = self._names.get(block, [])
        return self._files.tensors(names) if names else {}


def find_adapters(names: Sequence[str], settings: SwarmSettings, anatomy: Anatomy) -> tuple[Adapter, ...]:
    """Find the adapters of these names, each once; raises as ``Adapter`` does."""
    return tuple(Adapter(AdapterFiles(name, settings), anatomy) for name in dict.fromkeys(names))


def _shapes(opened: Any) -> dict[str, tuple[int, ...]]:
    names = list(opened.keys())
    return {name: tuple(opened.get_slice(name).get_shape()) for name in names}


def _plain_lora(config: PeftConfig) -> LoraConfig:
    if not isinstance(config, LoraConfig):
        raise NotCuttable(f"it is no LoRA but {getattr(config.peft_type, 'value', 'unknown')}")
    usual = LoraConfig()
    special = {
        field.name: value
        for field in fields(config)
        if field.name not in _OF_A_BLOCK
        and (value := getattr(config, field.name))
        and value != getattr(usual, field.name)
    }
    if config.init_lora_weights not in _UNCHANGED_MODEL:
        special["init_lora_weights"] = config.init_lora_weights
    if special:
        raise NotCuttable(f"it has {', '.join(f'{name}={value!r}' for name, value in special.items())}")
    return config


def _by_block(names: Iterable[str], anatomy: Anatomy) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    outside = set()
    for name in names:
        block = anatomy.block_of(name)
        if block is not None and block < anatomy.num_blocks:
            found.setdefault(block, []).append(name)
        else:
            outside.add(module_of(name))
    if outside or not found:
        raise NotCuttable(f"it changes {', '.join(sorted(outside)) or 'nothing'}")
    return found
