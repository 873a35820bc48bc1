"""Sizes of the tests' models."""

from typing import Any

VOCABULARY = 320
BLOCKS = 4
MAX_LENGTH = 1024
WINDOW = 24
"""Of sliding attention; the tests' texts are longer."""

ANY: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "num_hidden_layers": BLOCKS,
    "num_attention_heads": 4,
    # Larger than a fresh model's, so that attention, positions and experts matter to the text
    "initializer_range": 0.15,
    "bos_token_id": 1,
    "eos_token_id": None,
    "pad_token_id": 0,
}
"""What configurations of all architectures know."""
COMMON = ANY | {
    "intermediate_size": 96,
    "num_key_value_heads": 2,
    "max_position_embeddings": MAX_LENGTH,
}
"""What most know besides."""
