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

    A driver repeats ``step`` until ``finish`` is set, and takes chunks whenever ``ready``.

    Args:
        conversation: what was said before.
        plan: what to say now, as the conversation planned it.
        speculative_tokens: the most tokens that are guessed ahead in one pass through the swarm.
    """

    def __init__(self, conversation: Conversation, plan: Plan, speculative_tokens: int = 0) -> None:
        self.finish: Finish | None = None
        self.passes = 0
        """How often the answer went through the swarm, the prompt's pass included."""
        self._conversation = conversation
        self._plan = plan
        self.session = conversation.session(plan)
        if plan.prompt_ids:
            conversation.tokens += plan.prompt_ids
            conversation.detokenizer.restart(plan.prompt_ids)
        self._speculative_tokens = speculative_tokens
        self._chooser = TokenChooser(plan.request.sampling, conversation.tokens)
        # A stop sequence may begin in one token's text and end in the next one's, so its search looks back.
        self._look_back = max((len(sequence) for sequence in plan.request.stop_sequences), default=1) - 1
        self._tail = ""
        self._text: list[str] = []
        self._tokens = 0

    async def step(self) -> None:
        """Go through the swarm once; adds what is chosen then to the conversation and to the answer.

        Raises:
            Unavailable: some blocks have no server.
            Broken: a server computes what are no numbers.
        """
        tokens, guesser = self._conversation.tokens, self._conversation.guesser
        guesses = guesser.guess(tokens, min(self._speculative_tokens, self._plan.end - len(tokens) - 1))
        chosen = await self.session.next_tokens(tokens[self.session.position :], self._chooser, guesses)
        self.passes += 1
        for token in chosen:
            if self.finish is None:
                self._accept(token)
        if guesses:
            guesser.checked(tokens, len(guesses), len(chosen) - 1)
            if self.session.position >= len(tokens):
                await self.session.go_back(len(tokens) - 1)

    def _accept(self, token: int) -> None:
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
