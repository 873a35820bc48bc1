"""Random LoRA adapters of the tests' models, saved as peft saves them."""

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

LINEAR = ["q_proj", "v_proj", "down_proj"]
"""What they change unless told otherwise; Llama's and its relatives' names."""


def save_tiny_adapter(folder: Path, model: Path, *, seed: int = 0, **config: Any) -> Path:
    """Save an adapter of the model in ``model`` into ``folder``, large enough to change every text."""
    wanted: dict[str, Any] = {"r": 4, "lora_alpha": 8, "target_modules": LINEAR} | config
    adapted = get_peft_model(AutoModelForCausalLM.from_pretrained(model), LoraConfig(**wanted))
    numbers = torch.Generator().manual_seed(seed)
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            parameter.data = torch.randn(parameter.shape, generator=numbers) / 8
    adapted.save_pretrained(folder)
    return folder
