"""JSON schemas of callers to grammars of a model's tokens, bounded in size and in time."""

import asyncio
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from weakref import WeakKeyDictionary

from llguidance import LLMatcher, LLParserLimits, LLTokenizer
from llguidance.hf import from_tokenizer
from transformers import PreTrainedTokenizerBase

from services.common.errors import Refused
from services.endpoint.engine import Model
from services.endpoint.errors import WrongField
from services.endpoint.grammar import Grammar

_MOST_LETTERS = 32 * 1024
_LIMITS = LLParserLimits(
    max_items_in_row=4000,  # about a thousand fields of one object, each of which may come next
    verbose_errors=False,
)
_LAYOUT: Any = {"whitespace_pattern": r"[\x20\x0A\x0D\x09]{1,32}"}
"""Without a limit, a model that cannot think of anything to say fills its answer with spaces."""
_TRIED_TOKENS = 3
_SHOWN = 200
_FIELD = "response_format"
_REMEDY = "mend or simplify the schema"


class Schemas:
    """Makes grammars. One thread does it, so that nobody's schemas take more of the machine than that.

    Args:
        patience: the most seconds that one may take.
    """

    def __init__(self, patience: float = 10.0) -> None:
        self._patience = patience
        self._thread = ThreadPoolExecutor(1, "schemas")
        # Reading a vocabulary takes a second. Weak, as models come and go.
        self._tokenizers: WeakKeyDictionary[PreTrainedTokenizerBase, LLTokenizer] = WeakKeyDictionary()

    async def grammar(self, model: Model, schema: Mapping[str, Any]) -> Grammar:
        """Return the grammar of the JSON texts that a schema allows.

        Raises:
            WrongField: the schema is none, is too large, or asks for what cannot be held.
            Refused: too many others are being read.
        """
        work = self._thread.submit(self._make, model, schema)
        try:
            async with asyncio.timeout(self._patience):
                return await asyncio.wrap_future(work)
        except TimeoutError:
            if work.cancel():
                raise Refused("the schemas of others are being read", "try again in a few seconds") from None
            raise WrongField(
                f"{_FIELD}: reading the schema takes longer than {self._patience:g} s", _REMEDY
            ) from None

    def _make(self, model: Model, schema: Mapping[str, Any]) -> Grammar:
        try:
            text = json.dumps(schema, allow_nan=False)
        except (ValueError, RecursionError):
            raise WrongField(
                f"{_FIELD}: the schema is nested too deeply, or has too large a number", _REMEDY
            ) from None
        if len(text) > _MOST_LETTERS:
            raise WrongField(
                f"{_FIELD}: the schema has {len(text)} letters, {_MOST_LETTERS} are the most", _REMEDY
            )
        tokenizer = self._tokenizer(model)
        try:
            rules = LLMatcher.grammar_from_json_schema(text, defaults=_LAYOUT)
        except ValueError as error:
            raise WrongField(f"{_FIELD}: {_line(str(error))}", _REMEDY) from None
        matcher = LLMatcher(tokenizer, rules, log_level=0, limits=_LIMITS)
        if matcher.is_error():
            raise WrongField(f"{_FIELD}: {_line(matcher.get_error())}", _REMEDY)
        grammar = Grammar(matcher)
        _try_out(grammar, tokenizer.vocab_size)
        return grammar

    def _tokenizer(self, model: Model) -> LLTokenizer:
        known = self._tokenizers.get(model.tokenizer)
        if known is None:
            size = max(model.vocab_size, len(model.tokenizer))
            try:
                known = from_tokenizer(model.tokenizer, size, sorted(model.eos_token_ids))
            except ValueError:
                raise WrongField(
                    f"{_FIELD}: the tokens of {model.name} are of a kind that it is not made for",
                    "ask for the format in a message",
                ) from None
            self._tokenizers[model.tokenizer] = known
        return known


def _try_out(grammar: Grammar, tokens: int) -> None:
    """Begin an answer: what no text keeps to, or what has too many ways to begin, is known before a stream begins."""
    matching = grammar.begin()
    for _ in range(_TRIED_TOKENS):
        allowed = matching.allowed(tokens)
        if matching.problem is not None:
            raise matching.problem
        matching.take(int(allowed.int().argmax()))


def _line(problem: str) -> str:
    return " ".join(problem.split())[:_SHOWN]
