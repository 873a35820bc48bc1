"""What an answer must be: which tokens may come next, so that nothing else can be written.

llguidance (https://github.com/guidance-ai/llguidance) tells for a whole vocabulary at once, in well under a
millisecond, which tokens go on with a text of a grammar.
"""

import numpy as np
import torch
from llguidance import LLMatcher

from services.common.errors import CalyxError
from services.endpoint.errors import WrongField


class Matching:
    """How far one answer has come in its grammar. One thread at a time."""

    def __init__(self, matcher: LLMatcher) -> None:
        self._matcher = matcher
        self.problem: CalyxError | None = None
        """Why nothing may come next, if the answer is not complete."""

    def allowed(self, count: int) -> torch.Tensor:
        """Return which of the tokens 0 to ``count - 1`` may come next, as booleans; none where there is a problem."""
        allowed = np.zeros(count, dtype=bool)
        mask = b"" if self._matcher.is_error() else self._matcher.compute_bitmask()
        # Where nothing goes on, the mask would let the text end as it is
        if self._matcher.is_error():
            self.problem = WrongField(
                "response_format: no answer keeps to the schema, or finding one takes too long",
                "mend or simplify the schema",
            )
        else:
            known = np.unpackbits(np.frombuffer(mask, dtype=np.uint8), bitorder="little")[:count]
            allowed[: len(known)] = known
        return torch.from_numpy(allowed)

    def take(self, token: int) -> None:
        """Go on by a token that was allowed."""
        self._matcher.consume_token(token)

    @property
    def complete(self) -> bool:
        """Whether nothing can follow but the end of the text."""
        return self._matcher.is_stopped() and not self._matcher.is_error()


class Grammar:
    """A grammar that answers may be begun in, any number of them."""

    def __init__(self, matcher: LLMatcher) -> None:
        self._matcher = matcher

    def begin(self) -> Matching:
        """Return where an answer is that has no token yet."""
        return Matching(self._matcher.deep_copy())
