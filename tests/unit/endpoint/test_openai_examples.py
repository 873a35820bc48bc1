"""The examples of the documents for the OpenAI API run as they stand, but for where and which model."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.unit.endpoint.fake_model import NAME

ROOT = Path(__file__).parents[3]
MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
TEXT = "Once upon a time."


def example(document: str, language: str, mark: str) -> str:
    """Return the one example of a document that holds ``mark``."""
    blocks = re.findall(rf"```{language}\n(.*?)```", (ROOT / document).read_text(), re.DOTALL)
    (found,) = [block for block in blocks if mark in block]
    return str(found)


@pytest.mark.parametrize("document", ["README.md", "docs/endpoint.md"])
def test_the_client_of_openai(
    listen: Callable[..., str], capsys: pytest.CaptureFixture[str], document: str
) -> None:
    theirs = example(document, "python", "from openai import")
    mine = theirs.replace("localhost:8000", listen()).replace(MODEL, NAME)
    exec(mine, {})
    assert capsys.readouterr().out.strip() == TEXT


def test_curl(listen: Callable[..., str]) -> None:
    command = example("docs/endpoint.md", "bash", "/v1/chat/completions")
    body = json.loads(re.search(r"'(\{.*\})'", command, re.DOTALL)[1])  # type: ignore[index]
    assert body.pop("model") == MODEL
    answer = httpx.post(f"http://{listen()}/v1/chat/completions", json={**body, "model": NAME})
    assert answer.json()["choices"][0]["message"]["content"] == TEXT
