"""The examples of the documents, made to ask an endpoint of a test instead of the user's own."""

import re
from pathlib import Path

from tests.unit.endpoint.fake_model import NAME

ROOT = Path(__file__).parents[3]
_MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
_HTTP, _GRPC = "localhost:8000", "localhost:8001"


def examples(document: str, language: str) -> list[str]:
    """Return the blocks of code of a document."""
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / document).read_text(), re.DOTALL | re.MULTILINE)


def example(document: str, language: str, mark: str, address: str) -> str:
    """Return the one example of a document that holds ``mark``, as it stands but for the address and the model."""
    (found,) = [block for block in examples(document, language) if mark in block]
    assert _HTTP in found or _GRPC in found
    return found.replace(_HTTP, address).replace(_GRPC, address).replace(_MODEL, NAME)
