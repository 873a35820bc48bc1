"""Texts of many sessions in one batch: each is what it would be alone, whoever comes, goes or leaves beside it."""

from collections import deque
from dataclasses import dataclass, field, replace

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedModel

from services.swarm.serving.scheduler import SessionClosed, Step
from tests.unit.swarm.batch_server import ARENA_TOKENS, Parts, Server, make_server
from tests.unit.swarm.tiny_sizes import VOCABULARY


@dataclass
class Text:
    """A session that continues a random prompt greedily.

    Attributes:
        arrives: at which tick.
        rows: how many texts it holds.
        prompt: tokens of each text that are given.
        new: tokens that it wants for each.
        patience: ticks after which it leaves, whatever it waits for; None if it stays.
    """

    arrives: int
    rows: int
    prompt: int
    new: int
    patience: int | None
    handle: int = 0
    position: int = 0
    tokens: list[list[int]] = field(default_factory=list)

    @property
    def size(self) -> int:
        return self.rows * (self.prompt + self.new)

    @property
    def made(self) -> int:
        return len(self.tokens[0]) - self.prompt if self.tokens else 0

    def open(self, server: Server, handle: int) -> None:
        numbers = torch.Generator().manual_seed(handle)
        self.handle = handle
        self.tokens = torch.randint(2, VOCABULARY, (self.rows, self.prompt), generator=numbers).tolist()
        server.arena.open(handle, self.rows, self.prompt + self.new)

    def ask(self, server: Server) -> Step:
        hidden = server.embed([row[self.position :] for row in self.tokens])
        step = server.submit(self.handle, hidden, self.position)
        self.position += hidden.shape[1]
        return step

    def wants_more_after(self, chosen: list[int]) -> bool:
        for row, token in zip(self.tokens, chosen, strict=True):
            row.append(token)
        return self.made < self.new

    def expected(self, whole: PreTrainedModel) -> list[list[int]]:
        start = torch.tensor([row[: self.prompt] for row in self.tokens])
        rows: list[list[int]] = whole.generate(
            start, do_sample=False, max_new_tokens=self.made, pad_token_id=0
        ).tolist()
        return rows


def live(server: Server, texts: list[Text]) -> None:
    """Let texts come, take turns and leave, until none is left; they wait outside as long as memory is short."""
    coming = deque(sorted(texts, key=lambda text: text.arrives))
    asked: dict[Step, Text] = {}
    used = tick = 0
    while coming or asked:
        while coming and coming[0].arrives <= tick and used + coming[0].size <= ARENA_TOKENS:
            text = coming.popleft()
            text.open(server, handle=100 * tick + len(coming))
            used += text.size
            asked[text.ask(server)] = text
        leaving = [text for text in asked.values() if text.patience == 0]
        for text in leaving:
            server.arena.close_session(text.handle)
        for step, outcome in server.scheduler.tick():
            text = asked.pop(step)
            if isinstance(outcome, Exception):
                assert isinstance(outcome, SessionClosed)
                assert text in leaving
            elif text.wants_more_after(server.choose(outcome)):
                asked[text.ask(server)] = text
                continue
            else:
                server.arena.close_session(text.handle)
            used -= text.size
        for text in asked.values():
            text.patience = None if text.patience is None else text.patience - 1
        tick += 1


TEXTS = st.lists(
    st.builds(
        Text,
        st.integers(0, 20),
        st.integers(1, 2),
        st.integers(1, 30),
        st.integers(1, 5),
        st.none() | st.integers(0, 6),
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=10, deadline=None)
@given(TEXTS)
def test_each_text_is_that_of_plain_transformers_whatever_runs_beside_it(
    parts: Parts, texts: list[Text]
) -> None:
    texts = [replace(text, tokens=[]) for text in texts]
    server = make_server(parts)

    live(server, texts)

    for text in texts:
        if text.made:
            assert text.tokens == text.expected(server.whole)
    server.arena.catch_up()
    assert not any(server.arena.holds(text.handle) for text in texts)
