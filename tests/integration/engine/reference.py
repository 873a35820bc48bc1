"""What plain transformers makes of prompts, to hold the swarm against."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from tests.blocking_client import BlockingClient, BlockingSession
from tests.unit.swarm.tiny_sizes import VOCABULARY

VARIANTS = ("llama", "llama-3.1", "mixtral", "gemma2", "gemma3", "falcon-40b", "bloom")
"""Those that differ most in what models and layers exchange; unit tests take all."""


@dataclass(frozen=True)
class Text:
    """A prompt with its greedy continuation, and the logits [tokens, vocabulary] that each token was chosen by."""

    prompt: list[int]
    tokens: list[int]
    logits: torch.Tensor

    @property
    def length(self) -> int:
        """Return how many tokens prompt and continuation have together."""
        return len(self.prompt) + len(self.tokens)


def plain_transformers(
    folder: Path,
    *,
    prompt: int,
    new: int,
    dtype: torch.dtype = torch.float32,
    change: Callable[[PreTrainedModel], None] = lambda model: None,
) -> Text:
    """Continue a random prompt of so many tokens by so many new ones, with the whole model in this process."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    change(model)
    tokens = torch.randint(2, VOCABULARY, (1, prompt), generator=torch.Generator().manual_seed(prompt))
    made = model.generate(
        tokens, do_sample=False, max_new_tokens=new, output_logits=True, return_dict_in_generate=True
    )
    return Text(tokens[0].tolist(), made.sequences[0, prompt:].tolist(), torch.cat(made.logits).float())


def logits_without_rounding(folder: Path, text: Text, dtype: torch.dtype) -> torch.Tensor:
    """Return what ``text``'s logits are when weights of ``dtype`` compute in float32, [tokens, vocabulary]."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).float()
    with torch.inference_mode():
        logits: torch.Tensor = model(torch.tensor([text.prompt + text.tokens[:-1]])).logits
    return logits[0, -len(text.tokens) :]


def logits_along(model: BlockingClient, text: Text) -> torch.Tensor:
    """Return the swarm's logits after the prompt and after each token of the text, [tokens, vocabulary]."""
    session = model.open_session(text.length)
    try:
        return torch.stack([session.step(part) for part in [text.prompt, *([t] for t in text.tokens[:-1])]])
    finally:
        session.close()


def continue_greedily(session: BlockingSession, token: int, count: int) -> list[int]:
    """Send ``token`` and then what the swarm makes of it, and return the ``count`` tokens that came."""
    made = []
    for _ in range(count):
        token = int(session.step([token]).argmax())
        made.append(token)
    return made
