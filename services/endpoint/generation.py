"""One answer, as every protocol generates it. No network here: tokens to send go out, chosen tokens come in."""

from dataclasses import dataclass
from typing import Literal

from services.endpoint.conversation import Conversation, Plan
from services.endpoint.sampling import TokenChooser


@dataclass(frozen=True)
class Finish:
    """Why an answer ended: a stop sequence (and which), the model's end of text, or the limit of tokens."""

    reason: Literal["stop_sequence", "end_of_text", "length"]
    sequence: str | None = None


@dataclass(frozen=True)
class Chunk:
    """A piece of an answer: its text, how many tokens that took and, on the last one, why it is the last."""

    text: str
    tokens: int
    finish: Finish | None


class Generation:
    """The state of one answer. Creating it adds the prompt to the conversation.

    A driver repeats ``accept(await session.next_token(next_input(), chooser))`` until ``finish`` is set, and takes
    chunks whenever ``ready``.

    Args:
        conversation: what was said before.
        plan: what to say now, as the conversation planned it.
        chooser: chooses tokens; by default one made of the request's sampling parameters.
    """

    def __init__(self, conversation: Conversation, plan: Plan, chooser: TokenChooser | None = None) -> None:
        self.finish: Finish | None = None
        self._conversation = conversation
        self._plan = plan
        self.session = conversation.session(plan)
        if plan.prompt_ids:
            conversation.tokens += plan.prompt_ids
            conversation.detokenizer.restart(plan.prompt_ids)
        self.chooser = chooser or TokenChooser(plan.request.sampling, conversation.tokens)
        # A stop sequence may begin in one token's text and end in the next one's, so its search looks back.
        self._look_back = max((len(sequence) for sequence in plan.request.stop_sequences), default=1) - 1
        self._tail = ""
        self._text: list[str] = []
        self._tokens = 0

    def next_input(self) -> list[int]:
        """Return the tokens that the servers lack, never none."""
        return self._conversation.tokens[self.session.position :]

    def accept(self, token: int) -> None:
        """Add the token that was chosen to the conversation and to the answer."""
        conversation, plan = self._conversation, self._plan
        conversation.tokens.append(token)
        self._tokens += 1
        text = self._until_stop(conversation.detokenizer.push(token))
        if self.finish is None:
            if token in plan.stop_ids:
                self.finish = Finish("stop_sequence", plan.stop_ids[token])
                text += conversation.detokenizer.flush()
            elif token in conversation.model.eos_token_ids:
                self.finish = Finish("end_of_text")
                text += conversation.detokenizer.flush()
            elif len(conversation.tokens) >= plan.end:
                # No flush: a character that the limit cut in two is whole again if the caller goes on.
                self.finish = Finish("length")
        self._text.append(text)

    @property
    def ready(self) -> bool:
        """Whether a piece of the answer can be sent: the last one, or enough tokens with a text to show."""
        every = self._plan.request.tokens_per_chunk
        return self.finish is not None or (every is not None and self._tokens >= every and any(self._text))

    def take(self) -> Chunk:
        """Return what was generated since the last call."""
        chunk = Chunk("".join(self._text), self._tokens, self.finish)
        self._text, self._tokens = [], 0
        return chunk

    def _until_stop(self, text: str) -> str:
        """Return the text up to the end of the first stop sequence, which ends the answer."""
        if not text or not self._plan.request.stop_sequences:
            return text
        seen = self._tail + text
        ends = [
            (seen.index(sequence) + len(sequence), sequence)
            for sequence in self._plan.request.stop_sequences
            if sequence in seen
        ]
        if ends:
            end, sequence = min(ends)
            self.finish = Finish("stop_sequence", sequence)
            return seen[len(self._tail) : end]
        self._tail = seen[-self._look_back :] if self._look_back else ""
        return text
