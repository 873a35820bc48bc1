"""Which adapters are found, how much of them is read, and which are refused, with the reason."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from petals.server.handler import TransformerConnectionHandler as StockHandler
from safetensors.torch import load_file, save_file

from services.common.errors import Broken, CalyxError, InvalidInput, Unavailable
from services.common.settings import SwarmSettings
from services.swarm.adapters import Adapter, find_adapters
from services.swarm.family.layer_inputs import LayerInputs
from services.swarm.loading import block_bytes, load_block
from services.swarm.serving.handler import TransformerConnectionHandler
from services.swarm.spec import ModelSpec
from tests.unit.swarm.tiny_adapters import save_tiny_adapter
from tests.unit.swarm.tiny_models import save_tiny_model

CPU = torch.device("cpu")
NAME = "tiny/adapter"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapters")
    save_tiny_model(folder / "tiny" / "model", "llama")
    return folder


@pytest.fixture
def folder(models: Path, tmp_path: Path) -> Path:
    """Where models and adapters are looked for; the test adds the adapter."""
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "model").symlink_to(models / "tiny" / "model")
    return tmp_path


def save(folder: Path, **config: Any) -> Path:
    return save_tiny_adapter(folder / NAME, folder / "tiny" / "model", **config)


def settings(folder: Path) -> SwarmSettings:
    return SwarmSettings.load(
        model="tiny/model", models_dir=folder, cache_dir=folder / "cache", hf_hub_offline=True, revision="v2"
    )


def find(folder: Path, name: str = NAME) -> Adapter:
    (adapter,) = find_adapters([name, name], settings(folder), ModelSpec.find(settings(folder)).anatomy)
    return adapter


def load(folder: Path, index: int, adapters: list[Adapter], dtype: torch.dtype) -> Any:
    spec = ModelSpec.find(settings(folder))
    inputs = LayerInputs(spec.anatomy, dtype, CPU)
    return load_block(spec.files, spec.anatomy, index, inputs, adapters=adapters)


def why(folder: Path) -> str:
    with pytest.raises(InvalidInput) as refused:
        find(folder)
    return str(refused.value)


def test_only_a_block_s_own_tensors_are_read(folder: Path) -> None:
    save(folder)

    weights = find(folder).weights(2)

    assert len(weights) == 6
    assert all(".layers.2." in name for name in weights)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_block_takes_the_bytes_that_are_counted_for_it(folder: Path, dtype: torch.dtype) -> None:
    save(folder, rank_pattern={"layers.1.self_attn.q_proj": 16})
    adapter, spec = find(folder), ModelSpec.find(settings(folder))

    loaded = [load(folder, index, [adapter], dtype) for index in range(spec.num_blocks)]

    taken = max(sum(parameter.nbytes for parameter in block.parameters()) for block in loaded)
    assert block_bytes(spec.anatomy, dtype, CPU, adapters=[adapter]) == taken
    assert block_bytes(spec.anatomy, dtype, CPU) < taken


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"modules_to_save": ["lm_head"]}, "it has modules_to_save=['lm_head']"),
        ({"bias": "lora_only", "use_dora": True}, "it has bias='lora_only', use_dora=True"),
        ({"target_modules": ["q_proj", "lm_head", "embed_tokens"]}, "it changes lm_head, model.embed_tokens"),
        ({"trainable_token_indices": [1, 2]}, "it has trainable_token_indices=[1, 2]"),
        ({"init_lora_weights": "pissa"}, "it has init_lora_weights='pissa'"),
    ],
)
def test_what_a_block_does_not_hold(folder: Path, config: dict[str, Any], reason: str) -> None:
    save(folder, **config)

    assert why(folder) == (f"adapter {NAME} cannot be cut into blocks: {reason} — serve another adapter")


def test_another_kind_than_lora(folder: Path) -> None:
    config = save(folder) / "adapter_config.json"
    config.write_text(json.dumps({"peft_type": "IA3", "target_modules": ["k_proj"]}))

    assert "cannot be cut into blocks: it is no LoRA but IA3" in why(folder)


def test_an_adapter_of_another_model(folder: Path, tmp_path: Path) -> None:
    weights = save(folder) / "adapter_model.safetensors"
    tensors = load_file(weights)
    odd = next(name for name in tensors if name.endswith("q_proj.lora_A.weight"))
    save_file(tensors | {odd: torch.zeros(4, 65)}, weights)

    with pytest.raises(InvalidInput, match=rf"adapter {NAME} does not fit block 0: .*size mismatch"):
        load(folder, 0, [find(folder)], torch.float32)


def test_an_adapter_of_another_architecture(folder: Path) -> None:
    weights = save(folder) / "adapter_model.safetensors"
    save_file({name.replace("q_proj", "query"): value for name, value in load_file(weights).items()}, weights)

    with pytest.raises(
        InvalidInput, match=r"does not fit block 1: the model has no model.layers.1.self_attn.query"
    ):
        load(folder, 1, [find(folder)], torch.float32)


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (
            lambda path: (path / "adapter_config.json").unlink(),
            Unavailable,
            "check CALYX_ADAPTERS and the network",
        ),
        (
            lambda path: (path / "adapter_config.json").write_text("{"),
            Broken,
            "adapter_config.json of .* is corrupt",
        ),
        (
            lambda path: (path / "adapter_model.safetensors").unlink(),
            Broken,
            "only adapters in safetensors form can be served",
        ),
        (
            lambda path: (path / "adapter_model.safetensors").write_bytes(b"\0" * 9),
            Broken,
            "adapter_model.safetensors of tiny/adapter is corrupt",
        ),
    ],
)
def test_files_that_are_not_there_or_corrupt(
    folder: Path, spoil: Any, error: type[CalyxError], message: str
) -> None:
    spoil(save(folder))

    with pytest.raises(error, match=message):
        find(folder)


def test_a_name_that_is_none(folder: Path) -> None:
    with pytest.raises(InvalidInput, match=r"'\.\./adapter' is not an adapter's name"):
        find(folder, "../adapter")


def test_requests_name_an_adapter_that_is_there_or_none() -> None:
    handler = TransformerConnectionHandler.__new__(TransformerConnectionHandler)
    handler.adapters = (NAME, "tiny/other")

    assert [handler._get_active_adapter(said) for said in ({}, {"active_adapter": None})] == ["", ""]
    assert handler._get_active_adapter({"active_adapter": NAME}) == NAME
    for unknown in ("poet", [NAME]):
        with pytest.raises(
            InvalidInput, match="it has tiny/adapter, tiny/other — choose one of these, or none"
        ):
            handler._get_active_adapter({"active_adapter": unknown})


def test_clients_call_our_handler_by_the_name_of_petals() -> None:
    assert TransformerConnectionHandler.__name__ == StockHandler.__name__
