"""One answer, as every protocol generates it. No network here: tokens to send go out, chosen tokens come in."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from services.endpoint.conversation import Conversation, Plan
from services.endpoint.engine import Server
from services.endpoint.sampling import TokenChooser, TokenLogprob
from services.endpoint.stopping import StopSequences


@dataclass(frozen=True)
class Finish:
    """Why an answer ended: a stop sequence (and which), the end of the text, or the limit of tokens.

    A text ends where the model says so, and where its grammar lets nothing follow.
    """

    reason: Literal["stop_sequence", "end_of_text", "length"]
    sequence: str | None = None


@dataclass(frozen=True)
class Chunk:
    """A piece of an answer: its text, how many tokens that took and, on the last one, why it is the last.

    If they were asked for, it has the log-probabilities of those tokens that make the text: neither of one that ends
    the answer nor of a stop sequence that is no part of it.

    The first and the last piece say which servers answer, in the order of their blocks: others may take over between
    them. Who computed it makes no other text, so pieces are compared without that.
    """

    text: str
    tokens: int
    finish: Finish | None
    logprobs: tuple[TokenLogprob, ...] = ()
    servers: Sequence[Server] = field(default=(), compare=False)


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
        self._stops = StopSequences(plan.request.stop_sequences, plan.request.keep_stop)
        self._decoded, self._shown = 0, 0
        """How many characters came out of the tokens, and how many of them are the answer's."""
        self._logprobs: list[tuple[int, TokenLogprob]] = []
        """With where the token's text begins."""
        self._text: list[str] = []
        self._tokens = 0
        self._told_servers = False

    async def step(self) -> None:
        """Go through the swarm once; adds what is chosen then to the conversation and to the answer.

        Raises:
            Unavailable: some blocks have no server.
            Broken: a server computes what are no numbers.
        """
        tokens, guesser = self._conversation.tokens, self._conversation.guesser
        most = min(self._speculative_tokens, self._plan.end - len(tokens) - 1)
        # A draft would first read the prompt, and the first token wait for that
        guesses = await guesser.guess(tokens, most, drafts=self.passes > 0)
        began = time.monotonic()
        chosen = await self.session.next_tokens(tokens[self.session.position :], self._chooser, guesses)
        seconds = time.monotonic() - began
        self.passes += 1
        for count, token in enumerate(chosen, start=1):
            if self.finish is None:
                self._accept(token, complete=count == len(chosen) and self._chooser.complete)
        if guesses:
            guesser.checked(tokens, len(guesses), len(chosen) - 1, seconds)
            if self.session.position >= len(tokens):
                await self.session.go_back(len(tokens) - 1)

    def _accept(self, token: int, *, complete: bool) -> None:
        conversation, plan = self._conversation, self._plan
        conversation.tokens.append(token)
        self._tokens += 1
        begin = self._decoded
        piece = conversation.detokenizer.push(token)
        self._decoded += len(piece)
        text, sequence = self._stops.push(piece)
        self._shown += len(text)
        border = math.inf  # where tokens begin that are no part of the answer
        if sequence is not None:
            self.finish = Finish("stop_sequence", sequence)
            border = math.inf if plan.request.keep_stop else self._shown
        elif token in plan.stop_ids or token in conversation.model.eos_token_ids:
            stop = plan.stop_ids.get(token)
            self.finish = Finish("end_of_text" if stop is None else "stop_sequence", stop)
            border = begin
            text += self._stops.flush() + conversation.detokenizer.flush()
        elif complete:
            self.finish = Finish("end_of_text")
            text += self._stops.flush() + conversation.detokenizer.flush()
        elif len(conversation.tokens) >= plan.end:
            # No flush of what is incomplete: a character that the limit cut is whole again if the caller goes on.
            self.finish = Finish("length")
            text += self._stops.flush()
        self._text.append(text)
        if self._chooser.logprobs:
            self._logprobs.append((begin, self._chooser.logprobs.pop(0)))
            while self._logprobs and self._logprobs[-1][0] >= border:
                self._logprobs.pop()

    @property
    def ready(self) -> bool:
        """Whether a piece of the answer can be sent: the last one, or enough tokens with a text to show."""
        every = self._plan.request.tokens_per_chunk
        return self.finish is not None or (every is not None and self._tokens >= every and any(self._text))

    def take(self) -> Chunk:
        """Return what was generated since the last call."""
        sure = math.inf if self.finish else self._shown
        logprobs = tuple(one for begin, one in self._logprobs if begin < sure)
        servers = self.session.servers if self.finish or not self._told_servers else ()
        self._told_servers = True
        chunk = Chunk("".join(self._text), self._tokens, self.finish, logprobs, servers)
        self._text, self._tokens, self._logprobs = [], 0, self._logprobs[len(logprobs) :]
        return chunk
