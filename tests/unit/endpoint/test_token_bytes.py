"""The bytes of single tokens, for byte-level vocabularies and for those with byte tokens."""

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from services.endpoint.token_bytes import TokenBytes
from tests.unit.endpoint.fake_model import byte_tokenizer

TEXT = " a ö🙂 \n你"


def sentencepiece_like() -> PreTrainedTokenizerFast:
    """A vocabulary as Llama 2's: a space is "▁", a leading one is dropped, and unknown letters are bytes."""
    pieces = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "ö"]
    tokenizer = Tokenizer(
        models.BPE(
            vocab={piece: number for number, piece in enumerate(pieces)},
            merges=[],
            unk_token="<unk>",
            byte_fallback=True,
        )
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")


@pytest.mark.parametrize("tokenizer", [byte_tokenizer(), sentencepiece_like()], ids=["bytes", "pieces"])
def test_the_bytes_of_all_tokens_make_the_text(tokenizer: PreTrainedTokenizerFast) -> None:
    bytes_of = TokenBytes(tokenizer)
    ids = tokenizer(TEXT, add_special_tokens=False)["input_ids"]
    assert b"".join(map(bytes_of, ids)).decode().strip(" ") == TEXT.strip(" ")
    assert len(ids) > len(TEXT)


def test_a_special_token_is_its_name() -> None:
    tokenizer = byte_tokenizer()
    assert TokenBytes(tokenizer)(tokenizer.eos_token_id) == b"<|im_end|>"
