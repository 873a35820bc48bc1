"""The bytes that a single token stands for, which may be a part of a character."""

import re

from tokenizers import pre_tokenizers
from transformers import PreTrainedTokenizerBase

_BYTE_TOKEN = re.compile(r"<0x([0-9A-F]{2})>")
_REPLACEMENT = "\ufffd"


class TokenBytes:
    """Maps token ids to bytes.

    Args:
        tokenizer: whose tokens.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        # Many tokenizers drop a leading space unless something comes before it.
        self._context: list[int] = tokenizer("a", add_special_tokens=False)["input_ids"]
        self._skipped = len(self._decode(self._context))

    def __call__(self, token: int) -> bytes:
        """Return the bytes of a token; those of a special one are its name."""
        text = self._decode([*self._context, token])[self._skipped :]
        if _REPLACEMENT not in text:
            return text.encode()
        piece = str(self._tokenizer.convert_ids_to_tokens(token))
        if (alone := _BYTE_TOKEN.fullmatch(piece)) is not None:
            return bytes.fromhex(alone[1])
        if all(letter in _BYTE_OF_LETTER for letter in piece):
            return bytes(_BYTE_OF_LETTER[letter] for letter in piece)
        return text.encode()

    def _decode(self, tokens: list[int]) -> str:
        text: str = self._tokenizer.decode(tokens, clean_up_tokenization_spaces=False)
        return text


def _byte_letters() -> dict[str, int]:
    """Return which letter byte-level vocabularies write for each byte, as GPT-2's did first.

    Bytes that are a visible character of Latin-1 are that character; the others follow from U+0100 on, in order.
    """
    letters = set(pre_tokenizers.ByteLevel.alphabet())
    visible = {chr(byte) for byte in range(256)} & letters
    others = [byte for byte in range(256) if chr(byte) not in visible]
    return {
        **{letter: ord(letter) for letter in visible},
        **{chr(0x100 + i): byte for i, byte in enumerate(others)},
    }


_BYTE_OF_LETTER = _byte_letters()
