"""A model in a local folder: what is missing, cut or nonsense is named, in one line."""

import json
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file

from services.common.errors import Broken, CalyxError, InvalidInput, Unavailable
from services.common.settings import SwarmSettings
from services.swarm.family.verified import verified_model_types
from services.swarm.files import INDEX, SINGLE, ModelFiles
from services.swarm.spec import ModelSpec
from tests.unit.swarm.tiny_models import save_tiny_model

NAME = "tiny/llama"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a complete sharded model."""
    return save_tiny_model(tmp_path / "models" / NAME, "llama")


def settings(folder: Path, name: str = NAME) -> SwarmSettings:
    return SwarmSettings.load(
        model=name, models_dir=folder.parents[1], cache_dir=folder.parents[2] / "cache", hf_hub_offline=True
    )


def first_shard(folder: Path) -> Path:
    return min(folder.glob("*.safetensors"))


def all_weights(folder: Path) -> dict[str, torch.Tensor]:
    return ModelFiles(settings(folder)).weights(lambda name: True)


def test_only_wanted_weights_are_read(folder: Path) -> None:
    weights = ModelFiles(settings(folder)).weights(lambda name: name.endswith("norm.weight"))

    assert len(weights) == 9
    assert all(name.endswith("norm.weight") for name in weights)


def test_shards_and_a_single_file_hold_the_same(folder: Path, tmp_path: Path) -> None:
    single = save_tiny_model(tmp_path / "single" / NAME, "llama", max_shard_size="1GB")
    assert (single / SINGLE).exists()
    assert not (folder / SINGLE).exists()

    torch.testing.assert_close(all_weights(folder), all_weights(single), rtol=0, atol=0)
    torch.testing.assert_close(all_weights(single), load_file(single / SINGLE), rtol=0, atol=0)


def test_shards_without_wanted_weights_need_not_be_there(folder: Path) -> None:
    spec = ModelSpec.find(settings(folder))
    index = json.loads((folder / INDEX).read_text())["weight_map"]
    needed = {shard for name, shard in index.items() if spec.anatomy.block_of(name) == 0}
    for shard in set(index.values()) - needed:
        (folder / shard).unlink()

    assert len(spec.files.weights(lambda name: spec.anatomy.block_of(name) == 0)) == 9


def test_a_model_that_is_nowhere(folder: Path) -> None:
    with pytest.raises(
        Unavailable, match=r"tiny/other: not in .* and HF_HUB_OFFLINE forbids to ask the hub — "
    ):
        ModelSpec.find(settings(folder, "tiny/other"))


@pytest.mark.parametrize("name", ["", "a/b/c", "../llama", "tiny/..", "/etc", "tiny/llama\n", "tiny llama"])
def test_a_name_that_is_none(folder: Path, name: str) -> None:
    with pytest.raises(InvalidInput, match="is not a model's name — write it as owner/name"):
        ModelFiles(SwarmSettings.model_construct(model=name, models_dir=folder))


@pytest.mark.parametrize(
    ("model_type", "why"),
    [
        ("codegen", "no test has shown that it is exact"),
        ("t5", "it has an encoder beside its decoder"),
        ("mllama", "it takes more than text (vision_config)"),
        ("of-the-future", f"transformers {transformers.__version__} does not know it"),
        (["llama"], f"transformers {transformers.__version__} does not know it"),
        (None, f"transformers {transformers.__version__} does not know it"),
    ],
)
def test_an_architecture_that_no_test_covers(folder: Path, model_type: object, why: str) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": model_type}))

    with pytest.raises(InvalidInput) as refused:
        ModelSpec.find(settings(folder))

    assert str(refused.value) == (
        f"loading tiny/llama: architecture {model_type!r} is not supported: {why} — "
        f"choose a model of one of these: {', '.join(verified_model_types())}"
    )


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "\x00",
        '{"model_type": "llama", "hidden_size": "wide"}',
        '{"model_type": "llama", "hidden_size": 7}',
    ],
)
def test_a_configuration_that_is_nonsense(folder: Path, content: str) -> None:
    (folder / "config.json").write_text(content)

    with pytest.raises(Broken, match=f"configuration of tiny/llama from {folder}: .* — put a complete copy"):
        ModelSpec.find(settings(folder))


def test_a_configuration_that_is_no_text(folder: Path) -> None:
    (folder / "config.json").write_bytes(b"\xff\xfe")

    with pytest.raises(Broken, match=f"configuration of tiny/llama from {folder}: "):
        ModelSpec.find(settings(folder))


def test_a_folder_without_a_tokenizer(folder: Path) -> None:
    for path in folder.glob("tokenizer*"):
        path.unlink()

    with pytest.raises(Broken, match=f"reading the tokenizer of tiny/llama from {folder}: "):
        ModelFiles(settings(folder)).tokenizer()


def test_a_folder_without_weights(folder: Path) -> None:
    for path in [folder / INDEX, *folder.glob("*.safetensors")]:
        path.unlink()

    with pytest.raises(
        Broken, match=r"weights file model\.safetensors of tiny/llama is missing — only models in"
    ):
        all_weights(folder)


def test_a_shard_that_is_missing(folder: Path) -> None:
    first_shard(folder).unlink()

    with pytest.raises(
        Broken, match=rf"weights file {first_shard(folder).name} of|00001-of-00004.* is missing"
    ):
        all_weights(folder)


@pytest.mark.parametrize("size", [0, 7, 1000, -1])
def test_a_shard_that_is_cut(folder: Path, size: int) -> None:
    shard = first_shard(folder)
    shard.write_bytes(shard.read_bytes()[:size])

    with pytest.raises(
        Broken, match=rf"{shard.name} of tiny/llama is corrupt: .* — delete {shard.name} under {folder}"
    ):
        all_weights(folder)


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        "{}",
        '{"weight_map": 7}',
        '{"weight_map": {"w": 7}}',
        '{"weight_map": {"w": "../../other/model.safetensors"}}',
    ],
)
def test_an_index_that_is_nonsense(folder: Path, content: str) -> None:
    (folder / INDEX).write_text(content)

    with pytest.raises(Broken, match=r"model\.safetensors\.index\.json of tiny/llama is corrupt: "):
        all_weights(folder)


def test_every_complaint_is_one_line(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "llama", "hidden_size": "wide"}')

    with pytest.raises(CalyxError) as broken:
        ModelSpec.find(settings(folder))

    assert len(str(broken.value).splitlines()) == 1
