"""Tokens to text: whole characters only, and in the end the same text as decoding everything at once."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from services.endpoint.detokenizer import Detokenizer
from tests.unit.endpoint.fake_model import byte_tokenizer

BYTE_LEVEL = byte_tokenizer()


def sentencepiece_like() -> PreTrainedTokenizerFast:
    """Words with a "▁" for their space, and a byte token for everything else: as Llama 2 and Mixtral have."""
    words = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁A", "▁cat", "▁sat", "s", "▁", "</s>"]
    tokenizer = Tokenizer(
        models.BPE(vocab={word: i for i, word in enumerate(words)}, merges=[], byte_fallback=True)
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>")


WORDS = sentencepiece_like()


def pieces(tokenizer: PreTrainedTokenizerFast, prompt: list[int], answer: list[int]) -> list[str]:
    detokenizer = Detokenizer(tokenizer)
    detokenizer.restart(prompt)
    return [*(detokenizer.push(token) for token in answer), detokenizer.flush()]


def at_once(tokenizer: PreTrainedTokenizerFast, ids: list[int]) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))


def word_ids(*words: str) -> list[int]:
    return [WORDS.convert_tokens_to_ids(word) for word in words]


def byte_ids(text: str) -> list[int]:
    return [WORDS.convert_tokens_to_ids(f"<0x{byte:02X}>") for byte in text.encode()]


def test_a_character_comes_with_its_last_byte() -> None:
    answer = BYTE_LEVEL("ö🙂!")["input_ids"]
    assert pieces(BYTE_LEVEL, BYTE_LEVEL("x")["input_ids"], answer) == ["", "ö", "", "", "", "🙂", "!", ""]


@settings(deadline=None)
@given(prompt=st.text(min_size=1, max_size=20), answer=st.text(max_size=60))
def test_any_text_comes_out_whole(prompt: str, answer: str) -> None:
    ids = BYTE_LEVEL(prompt, add_special_tokens=False)["input_ids"]
    got = pieces(BYTE_LEVEL, ids, BYTE_LEVEL(answer, add_special_tokens=False)["input_ids"])
    assert "".join(got) == answer
    assert "\ufffd" in answer or "\ufffd" not in "".join(got)


@settings(max_examples=300, deadline=None)
@given(prompt=st.text(max_size=5), answer=st.lists(st.integers(0, len(BYTE_LEVEL) - 1), max_size=60))
def test_any_bytes_and_special_tokens_give_the_text_of_decoding_at_once(
    prompt: str, answer: list[int]
) -> None:
    ids = BYTE_LEVEL(prompt, add_special_tokens=False)["input_ids"]
    assert "".join(pieces(BYTE_LEVEL, ids, answer)) == at_once(BYTE_LEVEL, ids + answer)[len(prompt) :]


@pytest.mark.parametrize("character", ["\ufffd", "a", "é", "\U0001f642"])
def test_a_long_run_of_one_character_is_neither_lost_nor_held_back_for_ever(character: str) -> None:
    got = pieces(BYTE_LEVEL, [], BYTE_LEVEL(character * 40)["input_ids"])
    assert "".join(got) == character * 40
    assert len("".join(got[:-1])) > 30


def test_a_leading_space_stays() -> None:
    got = pieces(WORDS, word_ids("▁A"), word_ids("▁cat", "s", "▁sat"))
    assert got == [" cat", "s", " sat", ""]


def test_characters_made_of_byte_tokens_come_whole_one_after_the_other() -> None:
    answer = [*word_ids("▁cat"), *byte_ids("你好"), *word_ids("▁sat")]
    got = pieces(WORDS, word_ids("▁A"), answer)
    assert got == [" cat", "", "", "你", "", "", "好", " sat", ""]


def test_a_run_of_byte_tokens_goes_on_from_the_prompt() -> None:
    got = pieces(WORDS, [*word_ids("▁A"), *byte_ids("你")], byte_ids("好🙂"))
    assert "".join(got) == "好🙂"


def test_what_the_limit_cut_comes_with_the_rest() -> None:
    ids = BYTE_LEVEL("🙂")["input_ids"]
    detokenizer = Detokenizer(BYTE_LEVEL)
    detokenizer.restart([])
    assert [detokenizer.push(token) for token in ids] == ["", "", "", "🙂"]


def test_what_nothing_completes_is_shown_as_decoding_at_once_shows_it() -> None:
    ids = BYTE_LEVEL("a🙂")["input_ids"][:-1]
    assert "".join(pieces(BYTE_LEVEL, [], ids)) == at_once(BYTE_LEVEL, ids) == "a\ufffd"


def test_a_new_prompt_drops_what_was_incomplete() -> None:
    detokenizer = Detokenizer(BYTE_LEVEL)
    detokenizer.restart([])
    detokenizer.push(BYTE_LEVEL("🙂")["input_ids"][0])
    detokenizer.restart(BYTE_LEVEL("Hi ")["input_ids"])
    assert detokenizer.push(BYTE_LEVEL("x")["input_ids"][0]) == "x"


def test_the_work_per_token_does_not_grow_with_the_text() -> None:
    class Counting:
        longest = 0

        def decode(self, ids: list[int], **options: bool) -> str:
            self.longest = max(self.longest, len(ids))
            return str(BYTE_LEVEL.decode(ids, **options))

    tokenizer = Counting()
    detokenizer = Detokenizer(tokenizer)
    detokenizer.restart([])
    for token in BYTE_LEVEL("Ein längerer Text, 你好 🙂. " * 20)["input_ids"]:
        detokenizer.push(token)
    assert tokenizer.longest <= 8
