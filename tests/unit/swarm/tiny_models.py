"""Small random models of every architecture that Calyx serves, saved as the hub holds them."""

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from tests.unit.swarm.tiny_more_configs import ALL_CONFIGS
from tests.unit.swarm.tiny_sizes import VOCABULARY

_OLD_NAMES = {"gpt_neox": {"rope_theta": "rotary_emb_base", "partial_rotary_factor": "rotary_pct"}}


def _spell_positions_as_the_hub(path: Path) -> None:
    """Checkpoints made before transformers 5, which are nearly all, know no ``rope_parameters``."""
    config = json.loads(path.read_text())
    if "rope_type" not in config.get("rope_parameters", {}):
        return  # no rotary embeddings, or settings of each kind of layer, which are spelled in many ways
    positions = config.pop("rope_parameters")
    old_names = _OLD_NAMES.get(config["model_type"], {})
    for name in {"rope_theta", "partial_rotary_factor"} & positions.keys():
        config[old_names.get(name, name)] = positions.pop(name)
    config["rope_scaling"] = positions if positions["rope_type"] != "default" else None
    path.write_text(json.dumps(config))


def save_tiny_model(folder: Path, variant: str, *, max_shard_size: str = "200KB", seed: int = 0) -> Path:
    """Save a random model with its tokenizer into ``folder``; the same seed gives the same weights."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(ALL_CONFIGS[variant](), dtype=torch.float32)
    model.save_pretrained(folder, max_shard_size=max_shard_size)
    _spell_positions_as_the_hub(folder / "config.json")
    words = Tokenizer(WordLevel({f"w{index}": index for index in range(VOCABULARY)}, unk_token="w0"))
    words.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, bos_token="w1", unk_token="w0").save_pretrained(folder)
    return folder
