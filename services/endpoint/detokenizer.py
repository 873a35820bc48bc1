"""Token ids to text, one at a time: no character is ever cut, and nothing is decoded twice without need."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

_REPLACEMENT = "\ufffd"
_PROMPT_TAIL = 64
"""How many tokens of the prompt are the context of an answer's first token: more than any character takes."""
_LONGEST_FRAGMENT = 7
"""The most replacement characters that a character which is still incomplete can show at the end of a text:
up to three for its own bytes and, where the tokenizer rejects a whole run of bytes, up to four for the
character before it. A longer run is text that will not change any more."""
_BYTES_AHEAD = 3
"""The most bytes of a character that can be there without the last one."""


class Detokenizer:
    """Decodes a growing list of tokens.

    A token's text depends on its neighbours: a character may be spread over several tokens, and many
    tokenizers drop a leading space. So each token is decoded together with those of the last piece of text,
    whose length is known, and what comes after it is new. That window stays a few tokens long, so the work
    per token does not grow with the text. Special tokens have no text.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._window: list[int] = []
        self._boundary = 0  # window[:boundary] is text that was returned before
        self._shown = 0  # characters of the window's text that were returned, or belong to the prompt

    def restart(self, prompt_ids: Sequence[int]) -> None:
        """Begin an answer after this prompt; what was incomplete in the answer before is dropped."""
        self._window = list(prompt_ids[-_PROMPT_TAIL:])
        self._boundary = len(self._window)
        self._shown = len(self._decode())

    def push(self, token_id: int) -> str:
        """Return the text that this token completes; "" while a character is incomplete."""
        self._window.append(token_id)
        text = self._decode()
        unsure = len(text) - len(text.rstrip(_REPLACEMENT))
        if unsure > _LONGEST_FRAGMENT:
            unsure = _BYTES_AHEAD
        new = text[self._shown : len(text) - unsure]
        self._shown += len(new)
        if not unsure and new:
            self._slide()
        return new

    def flush(self) -> str:
        """Return what was held back as incomplete, now that nothing will complete it."""
        new = self._decode()[self._shown :]
        self._shown += len(new)
        return new

    def _slide(self) -> None:
        """Make the last piece of text the context of the next one.

        The window begins where that piece began, never inside it: some tokenizers decode a run of byte
        tokens only as a whole.
        """
        self._window = self._window[self._boundary :]
        self._boundary = len(self._window)
        self._shown = len(self._decode())

    def _decode(self) -> str:
        text: str = self._tokenizer.decode(
            self._window, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text
