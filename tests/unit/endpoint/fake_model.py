"""A model of the swarm that answers what a test scripts, over a real byte-level tokenizer."""

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from services.common.errors import InvalidInput
from services.endpoint.sampling import TokenChooser

NAME = "test/parrot"
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""As most models have it, without tools."""


def byte_tokenizer(bos: bool = False) -> PreTrainedTokenizerFast:
    """One token per byte, as a real byte-level vocabulary has it, and the special tokens of a chat model."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|bos|>",
        eos_token="<|im_end|>",
        additional_special_tokens=["<|im_start|>"],
        chat_template=CHAT_TEMPLATE,
    )
    if bos:
        fast._tokenizer.post_processor = processors.TemplateProcessing(
            single="<|bos|> $A", special_tokens=[("<|bos|>", fast.bos_token_id)]
        )
    return fast


@dataclass(frozen=True)
class FakeServer:
    """A server that answers."""

    peer_id: str
    public_name: str | None
    start_block: int
    end_block: int


class FakeSession:
    """Answers the model's script, token by token, after each prompt; keeps what it was sent."""

    def __init__(self, model: "FakeModel", max_length: int) -> None:
        self.max_length = max_length
        self.steps: list[list[int]] = []
        self.forgotten = 0
        self.said = 0
        self.closed = threading.Event()
        self._model = model

    @property
    def position(self) -> int:
        return sum(map(len, self.steps)) - self.forgotten

    @property
    def servers(self) -> list[FakeServer]:
        return self._model.servers if self.steps and not self.closed.is_set() else []

    async def next_tokens(
        self, token_ids: Sequence[int], chooser: TokenChooser, guesses: Sequence[int]
    ) -> list[int]:
        assert not self.closed.is_set(), "stepped after it was closed"
        await self._model.before_step(self)
        if self.position + len(token_ids) > self.max_length:
            raise InvalidInput("more tokens than the session holds")
        self.steps.append([*token_ids, *guesses])
        self._model.stepped.release()
        chosen: list[int] = []
        while not chosen or list(guesses[: len(chosen)]) == chosen:
            self.said += 1
            (token,) = TokenChooser.choose_all([chooser], self._model.logits(self.said).unsqueeze(0))
            if isinstance(token, Exception):
                raise token
            chosen.append(token)
        self.forgotten += 1 + len(guesses) - len(chosen)
        return chosen

    async def go_back(self, position: int) -> None:
        assert position <= self.position
        self.said -= self.position - position
        self.forgotten += self.position - position

    async def close(self) -> None:
        self.closed.set()


class FakeModel:
    """Says ``answer`` again and again, then ends the text; knobs make it fail or wait."""

    name = NAME
    num_blocks = 30
    memory_bytes = 1_000_000

    def __init__(self, answer: str = "Once upon a time.", max_length: int = 512, bos: bool = False) -> None:
        self.tokenizer = byte_tokenizer(bos)
        self.max_length = max_length
        self.vocab_size = len(self.tokenizer)
        self.eos_token_ids = frozenset({self.tokenizer.eos_token_id})
        self.script: list[int] = []
        self.say(answer)
        self.servers = [
            FakeServer("12D3KooWFakeOne", "tulip", 0, 15),
            FakeServer("12D3KooWFakeTwo", None, 15, 30),
        ]
        """Who answers from the first step on."""
        self.peak = 30.0
        """How far the script's token stands out from the others; at temperature 1 it is always drawn."""
        self.missing: list[int] = []
        self.looks = 0
        self.sessions: list[FakeSession] = []
        self.closed = False
        self.fail_at: dict[int, Exception] = {}
        """Step (1 is the first) → what it raises."""
        self.gate: threading.Semaphore | None = None
        """If set, every step waits for one release."""
        self.stepped = threading.Semaphore(0)
        """Released once per step that was answered."""

    def say(self, answer: str) -> None:
        """Say this from the next step on; a text that is not at its beginning goes on in the middle of it."""
        self.script = [
            *self.tokenizer(answer, add_special_tokens=False)["input_ids"],
            self.tokenizer.eos_token_id,
        ]

    async def before_step(self, session: FakeSession) -> None:
        if self.gate is not None:
            async with asyncio.timeout(20):
                while not self.gate.acquire(blocking=False):
                    await asyncio.sleep(0.001)
        if (error := self.fail_at.pop(len(session.steps) + 1, None)) is not None:
            raise error

    def logits(self, step: int) -> torch.Tensor:
        scores = torch.zeros(len(self.tokenizer))
        scores[self.script[(step - 1) % len(self.script)]] = self.peak
        return scores

    def missing_blocks(self) -> list[int]:
        self.looks += 1
        return self.missing

    async def guess(self, tokens: Sequence[int], count: int) -> list[int]:
        return []

    def open_session(self, max_length: int) -> FakeSession:
        session = FakeSession(self, max_length)
        self.sessions.append(session)
        return session

    def close(self) -> None:
        self.closed = True


class Babbler(FakeModel):
    """Says anything, and would rather come to an end where it may."""

    def __init__(self) -> None:
        super().__init__(max_length=4096)
        self._dice = torch.Generator().manual_seed(1)
        self._wish = torch.zeros(len(self.tokenizer))
        self._wish[self.tokenizer('"}]')["input_ids"]] = 4.0

    def logits(self, step: int) -> torch.Tensor:
        return torch.randn(len(self.tokenizer), generator=self._dice) + self._wish
