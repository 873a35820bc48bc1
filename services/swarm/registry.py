"""Registers every verified architecture with Petals, so that Petals' own entry points work with it:
``AutoDistributedConfig`` and ``AutoDistributedModelForCausalLM.from_pretrained(name, initial_peers=[…])``."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import torch
from petals.client.config import ClientConfig
from petals.client.inference_session import InferenceSession
from petals.client.remote_sequential import RemoteSequential
from petals.utils.auto_config import AutoDistributedConfig, register_model_classes
from transformers import CONFIG_MAPPING, PreTrainedConfig, PreTrainedModel

from services.common.errors import InvalidInput
from services.common.settings import SwarmSettings
from services.swarm.family.verified import derive_dht_prefix, verified_model_types
from services.swarm.loading import load_ends
from services.swarm.session import SessionCache, SwarmLayers
from services.swarm.spec import ModelSpec


class _DistributedConfig:
    """Added in front of transformers' configuration of an architecture, with Petals' ``ClientConfig`` behind."""

    @classmethod
    def from_pretrained(
        cls, name_or_path: str, *args: Any, dht_prefix: str | None = None, **kwargs: Any
    ) -> Any:
        """Return the configuration with a DHT prefix: the given one, or what stock Petals derives for hub names."""
        if dht_prefix is None and not os.path.isdir(name_or_path):
            dht_prefix = derive_dht_prefix(str(name_or_path), cls.model_type)  # type: ignore[attr-defined]
        return super().from_pretrained(name_or_path, *args, dht_prefix=dht_prefix, **kwargs)  # type: ignore[misc]


class _InTheSwarm:
    """Added in front of transformers' causal language model: ``generate`` keeps its caches on the servers."""

    def inference_session(self, max_length: int) -> contextlib.AbstractContextManager[InferenceSession]:
        """Return a context in which servers keep caches for ``max_length`` tokens."""
        layers = getattr(self.base_model, self.layers_name)  # type: ignore[attr-defined]
        session: contextlib.AbstractContextManager[InferenceSession] = layers[0].remote.inference_session(
            max_length=max_length
        )
        return session

    def generate(
        self, inputs: torch.Tensor | None = None, *, session: InferenceSession | None = None, **kwargs: Any
    ) -> Any:
        """Generate as transformers does, in ``session`` or in one that lasts for this call.

        Raises:
            InvalidInput: neither ``max_length`` nor ``max_new_tokens`` says how long a cache is needed.
        """
        inputs = kwargs.pop("input_ids") if inputs is None else inputs
        with self._opened(session, inputs.shape[1], kwargs) as opened:
            return super().generate(inputs, past_key_values=SessionCache(opened), **kwargs)  # type: ignore[misc]

    @contextlib.contextmanager
    def _opened(
        self, session: InferenceSession | None, prompt_length: int, kwargs: dict[str, Any]
    ) -> Iterator[InferenceSession]:
        if session is not None:
            yield session
            return
        if kwargs.get("max_new_tokens") is not None:
            length = prompt_length + int(kwargs["max_new_tokens"])
        elif kwargs.get("max_length") is not None:
            length = int(kwargs["max_length"])
        else:
            raise InvalidInput(
                "generating in the swarm: no length is given", "pass max_new_tokens or max_length"
            )
        with self.inference_session(length) as opened:
            yield opened


class _DistributedCausalLM:
    """What Petals' ``AutoDistributedModelForCausalLM`` finds for every verified architecture."""

    @classmethod
    def from_pretrained(
        cls, name_or_path: str, *, torch_dtype: torch.dtype = torch.float32, **kwargs: Any
    ) -> PreTrainedModel:
        """Return transformers' model with the swarm in the place of its layers.

        Args:
            name_or_path: a hub name or a local folder.
            torch_dtype: type of embeddings and head.
            kwargs: ``initial_peers``, ``revision``, ``cache_dir`` and the fields of Petals' ``ClientConfig``.

        Raises:
            CalyxError: the model cannot be found, read or reached.
        """
        config = AutoDistributedConfig.from_pretrained(name_or_path, **kwargs)
        spec = ModelSpec.find(_settings(str(name_or_path), kwargs))
        middle = SwarmLayers(RemoteSequential(config))
        return load_ends(spec.files, spec.anatomy, dtype=torch_dtype, middle=middle, mixin=_InTheSwarm)


def _settings(name_or_path: str, kwargs: dict[str, Any]) -> SwarmSettings:
    given = {key: kwargs[key] for key in ("revision", "cache_dir") if kwargs.get(key)}
    if os.path.isdir(name_or_path):
        folder, name = os.path.split(os.path.abspath(name_or_path))
        return SwarmSettings.load(model=name, models_dir=folder, **given)
    return SwarmSettings.load(model=name_or_path, **given)


def register_families() -> None:
    """Tell Petals of every verified architecture; called once, when ``services.swarm`` is imported."""
    for model_type in verified_model_types():
        base: type[PreTrainedConfig] = CONFIG_MAPPING[model_type]
        config = type(f"Distributed{base.__name__}", (_DistributedConfig, base, ClientConfig), {})
        register_model_classes(config=config, model_for_causal_lm=_DistributedCausalLM)
