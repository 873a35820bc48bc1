"""Decides which steps of which sessions run together, and runs them: one tick is one batch through the blocks."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from services.swarm.serving.arena import Arena
from services.swarm.serving.cores import Cores
from services.swarm.serving.pace import Pace
from services.swarm.serving.packed import PackedSpan
from services.swarm.serving.pieces import Piece
from services.swarm.serving.shares import Need, share

logger = logging.getLogger(__name__)


class SessionClosed(Exception):
    """A step's session was closed while the step waited; nobody reads this answer."""


@dataclass(eq=False)
class Step:
    """Tokens that a session wants to run next. A session has one step at a time, so its order is kept.

    Attributes:
        hidden: [rows, tokens, hidden].
        session: the first handle of its memory.
        position: how many tokens the session holds already.
        blocks: through which blocks of the span.
        adapter: with which LoRA adapter; empty for none.
        alone: runs the step by itself, if it is of a kind that batches cannot hold (beams, deep prompts).
        outputs: what has been computed, chunk by chunk.
        rows: how many texts it has tokens of.
        tokens: how many of each.
    """

    hidden: torch.Tensor
    session: int
    position: int
    blocks: range
    adapter: str = ""
    alone: Callable[[], torch.Tensor] | None = None
    outputs: list[torch.Tensor] = field(default_factory=list)
    rows: int = field(init=False)
    tokens: int = field(init=False)
    _done: int = 0

    def __post_init__(self) -> None:
        self.rows, self.tokens = self.hidden.shape[:2]

    @property
    def kind(self) -> tuple[range, str]:
        """Return what all steps of a batch have in common."""
        return self.blocks, self.adapter

    @property
    def need(self) -> Need:
        """Return what has not run yet."""
        return Need(self.rows, self.tokens - self._done)

    def pieces(self, rows: Sequence[int], tokens: int) -> list[Piece]:
        """Return where its next tokens go, for rows that begin at these places of the arena."""
        return [Piece(start, self.position + self._done, tokens) for start in rows]

    def next(self, tokens: int) -> torch.Tensor:
        """Return its next tokens, [rows * tokens, hidden]."""
        whole = tokens == self.tokens
        return (self.hidden if whole else self.hidden[:, self._done : self._done + tokens]).flatten(0, 1)

    def advance(self, output: torch.Tensor) -> bool:
        """Take the output [rows * tokens, hidden] of its next tokens; tell whether these were the last."""
        chunk = output[None] if self.rows == 1 else output.unflatten(0, (self.rows, -1))
        self.outputs.append(chunk)
        self._done += chunk.shape[1]
        return self._done == self.tokens

    def answer(self) -> torch.Tensor:
        """Return the output of all its tokens."""
        return self.outputs[0] if len(self.outputs) == 1 else torch.cat(self.outputs, dim=1)


Answer = tuple[Step, torch.Tensor | Exception]
"""A step that has come to its end, with its output or with what went wrong."""


class Scheduler:
    """Holds the steps that wait; used by the thread that computes, alone.

    Args:
        arena: the memory of all sessions.
        span: runs batches.
        pace: says how many tokens a tick may have.
        chunk: prompts are cut at multiples of so many tokens.
        cores: chooses how many a batch computes on; without it, always the same.
    """

    def __init__(
        self, arena: Arena, span: PackedSpan, pace: Pace, chunk: int = 1, cores: Cores | None = None
    ) -> None:
        self._arena, self._span, self._chunk, self._cores = arena, span, chunk, cores
        self.pace = pace
        self.ran = 0
        """How many tokens of all rows the last tick ran as a batch."""
        self._waiting: list[Step] = []
        self._served: list[Step] = []
        """Steps that have had their part of the last tick; they wait behind all others."""

    @property
    def waiting(self) -> int:
        """Return how many steps have not come to their end."""
        return len(self._waiting) + len(self._served)

    def catch_up(self) -> None:
        """Learn which sessions were opened and closed since the last tick."""
        self._arena.catch_up()

    def is_open(self, session: int) -> bool:
        """Tell whether the session with this first handle has not been closed, as far as is known."""
        return self._arena.holds(session)

    def submit(self, step: Step) -> None:
        """Let a step wait for the next tick."""
        self._waiting.append(step)

    def tick(self) -> list[Answer]:
        """Run one batch, and return the steps that have ended with it."""
        self.ran = 0
        self.catch_up()
        answers = self._give_up_closed()
        waiting = [*self._waiting, *self._served]
        if not waiting:
            return answers
        first = waiting[0]
        if first.alone is not None:
            self._waiting, self._served = waiting[1:], []
            return [*answers, (first, _outcome(first.alone))]
        together = [step for step in waiting if step.alone is None and step.kind == first.kind]
        tokens = share([step.need for step in together], self.pace.budget, self._chunk)
        batch = [(step, count) for step, count in zip(together, tokens, strict=True) if count]
        if self._cores is not None:
            self._cores.suit({step.session: count for step, count in batch})
        self.ran = sum(step.rows * count for step, count in batch)
        ended = self._run_apart_if_needed(batch)
        gone = {id(step) for step, _ in ended}
        equal_part = self.pace.budget // len(together)
        served = {id(step) for step, count in batch if count * step.rows >= equal_part}
        # Who had no part goes before who comes new, and that before who had one: nobody is kept waiting for good
        self._waiting = [step for step in waiting if id(step) not in gone | served]
        self._served = [step for step in waiting if id(step) in served - gone]
        return answers + ended

    def _give_up_closed(self) -> list[Answer]:
        closed = [step for step in (*self._waiting, *self._served) if not self._arena.holds(step.session)]
        if not closed:
            return []
        self._waiting = [step for step in self._waiting if step not in closed]
        self._served = [step for step in self._served if step not in closed]
        return [(step, SessionClosed("the session was closed")) for step in closed]

    def _run_apart_if_needed(self, batch: Sequence[tuple[Step, int]]) -> list[Answer]:
        """Run a batch; if that fails, run its steps one by one, so that only the guilty one fails.

        Keys and values are written to the same places again, so what ran before it failed does no harm.
        """
        try:
            return self._run(batch)
        except Exception as error:
            if len(batch) == 1:
                return [(batch[0][0], error)]
            logger.warning("a batch of %d steps failed, running each alone: %s", len(batch), error)
        return [answer for one in batch for answer in self._run_apart_if_needed([one])]

    def _run(self, batch: Sequence[tuple[Step, int]]) -> list[Answer]:
        pieces: list[Piece] = []
        for step, tokens in batch:
            rows = self._arena.rows(step.session)
            if len(rows) != step.rows:
                raise ValueError(f"a session of {len(rows)} rows cannot run {step.rows}")
            pieces += step.pieces(rows, tokens)
        hidden = torch.cat([step.next(tokens) for step, tokens in batch])
        blocks, adapter = batch[0][0].kind
        output = self._span.run(hidden, pieces, blocks, adapter)
        parts = output.split([step.rows * tokens for step, tokens in batch])
        return [
            (step, step.answer()) for (step, _), part in zip(batch, parts, strict=True) if step.advance(part)
        ]


def _outcome(run: Callable[[], Any]) -> torch.Tensor | Exception:
    try:
        output: torch.Tensor = run()
    except Exception as error:
        return error
    return output
