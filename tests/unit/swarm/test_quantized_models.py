"""Blocks in 4 and 8 bits compute what transformers computes with the same layers of bitsandbytes."""

import gc
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, PreTrainedModel

from services.swarm.family.quantized import Quantization, quantize
from services.swarm.serving.packed_check import differs_in_batches
from tests.unit.swarm.batch_server import BUDGET, CPU, Parts, make_parts, make_server
from tests.unit.swarm.tiny_sizes import VOCABULARY

NEW = 12
NF4 = BitsAndBytesConfig(
    load_in_4bit=True,
    bnb_4bit_quant_type="nf4",
    bnb_4bit_use_double_quant=True,
    bnb_4bit_compute_dtype=torch.float32,
)
LLM_INT8 = BitsAndBytesConfig(load_in_8bit=True)


def in_transformers(folder: Path, config: BitsAndBytesConfig) -> PreTrainedModel:
    model = AutoModelForCausalLM.from_pretrained(
        folder / "tiny" / "model", dtype=torch.float32, quantization_config=config, device_map="cpu"
    )
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False  # it would compute in bfloat16
    return model


def nf4_parts(folder: Path) -> Parts:
    return make_parts(folder, "llama-3.1", quantization="nf4")


def llm_int8_parts(folder: Path) -> Parts:
    """A GPU's layers on a CPU, where they compute the same more slowly."""
    parts = make_parts(folder, "llama-3.1", prepacked=False)
    for block in parts[1]:
        quantize(block.layer, "int8", torch.device("cuda"))
    return parts


@pytest.mark.parametrize(
    ("config", "make", "prompt"),
    [
        (NF4, nf4_parts, 3 * BUDGET),
        # What LLM.int8 rounds depends on all that runs together, so a prompt in pieces is another one
        (LLM_INT8, llm_int8_parts, BUDGET),
    ],
)
def test_a_text_is_that_of_transformers(
    tmp_path: Path, config: BitsAndBytesConfig, make: Callable[[Path], Parts], prompt: int
) -> None:
    parts = make(tmp_path)
    server, whole = make_server(parts), in_transformers(tmp_path, config)
    tokens = torch.randint(2, VOCABULARY, (1, prompt), generator=torch.Generator().manual_seed(0)).tolist()
    expected = whole.generate(
        torch.tensor(tokens),
        do_sample=False,
        max_new_tokens=NEW,
        pad_token_id=0,
        output_logits=True,
        return_dict_in_generate=True,
    )
    server.arena.open(0, 1, prompt + NEW)
    position, logits = 0, []
    while len(tokens[0]) < prompt + NEW:
        step = server.submit(0, server.embed([tokens[0][position:]]), position)
        position = len(tokens[0])
        output = server.finish()[step]
        assert isinstance(output, torch.Tensor)
        with torch.inference_mode():
            logits.append(server.whole.lm_head(server.whole.model.norm(output[:, -1])))
        tokens[0] += server.choose(output)

    assert tokens == expected.sequences.tolist()
    torch.testing.assert_close(torch.cat(logits), torch.cat(expected.logits), rtol=0, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_blocks_of_4_bits_run_in_batches_that_change_no_bit(tmp_path: Path, dtype: torch.dtype) -> None:
    _, blocks, inputs = make_parts(tmp_path, "mixtral", dtype, "nf4")

    problem = differs_in_batches(blocks, inputs, dtype, CPU, invariant=True)

    assert problem is None or "depend on who runs beside" in problem


@pytest.mark.parametrize("quantization", ["int8", "nf4"])
def test_the_file_of_weights_that_were_quantized_is_not_kept_in_memory(
    tmp_path: Path, quantization: Quantization
) -> None:
    _, blocks, _ = make_parts(tmp_path, "llama-3.1", quantization=quantization)
    gc.collect()  # the plain model

    assert str(tmp_path) not in Path("/proc/self/maps").read_text()
    assert blocks
