"""The examples of the documents run as they stand, but for where and which model."""

import ast
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf import json_format

from calyx.v1.inference_pb2 import GenerateRequest
from tests.unit.endpoint.documented import example, examples
from tests.unit.endpoint.fake_model import Babbler, FakeModel
from tests.unit.endpoint.grpc_pieces import Served

ENDPOINT = "docs/endpoint.md"
TEXT = "Once upon a time."
RUN: dict[str, dict[str, int]] = {
    "python": {"import websockets": 1, "stream=True": 1, "ChatOpenAI": 1, "completions.parse": 1},
    "bash": {"curl http": 3, "grpcurl": 1, "./scripts/calyx": 1},
    # The first one is run by tests/browser; the package of the other comes from npm, which no test has
    "javascript": {"new WebSocket": 1, 'from "openai"': 1},
}
"""A mark of every example that the document has, and of how many; ``test_keys_command`` reads those of the helper."""


def shell(command: str) -> Any:
    """Return the JSON that a command line of the document prints."""
    done = subprocess.run(
        ["/bin/bash", "-c", command], capture_output=True, text=True, timeout=60, check=True
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("language", RUN)
def test_no_example_is_left_out(language: str) -> None:
    blocks = examples(ENDPOINT, language)
    assert {mark: sum(mark in block for block in blocks) for mark in RUN[language]} == RUN[language]
    assert len(blocks) == sum(RUN[language].values())


@pytest.mark.parametrize(("document", "mark"), [("README.md", "import OpenAI"), (ENDPOINT, "stream=True")])
def test_the_client_of_openai(
    listen: Callable[..., str], capsys: pytest.CaptureFixture[str], document: str, mark: str
) -> None:
    exec(example(document, "python", mark, listen()), {})
    assert capsys.readouterr().out.strip() == TEXT


def test_langchain(listen: Callable[..., str], capsys: pytest.CaptureFixture[str]) -> None:
    exec(example(ENDPOINT, "python", "ChatOpenAI", listen()), {})
    assert capsys.readouterr().out.strip() == TEXT


class TestInJson:
    """An answer in JSON, of a model that says anything."""

    @pytest.fixture
    def model(self) -> FakeModel:
        return Babbler()

    def test_it_is_read_as_a_class(
        self, listen: Callable[..., str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        exec(example(ENDPOINT, "python", "completions.parse", listen()), {"__name__": "example"})
        assert re.match(r"name='.*' inhabitants=-?\d+$", capsys.readouterr().out, re.DOTALL)


@pytest.mark.parametrize("document", ["README.md", ENDPOINT])
def test_the_script_that_people_have_already(listen: Callable[..., str], document: str) -> None:
    script = example(document, "python", "import websockets", listen())
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    answer, speed = done.stdout.splitlines()
    told = ast.literal_eval(answer.partition("] ")[2])
    assert (told["outputs"][: len(TEXT)], told["stop"]) == (TEXT, True)
    assert speed.endswith("tokens/s")


@pytest.mark.parametrize(
    ("document", "mark", "text"),
    [
        ("README.md", "max_new_tokens=5", TEXT[:5]),
        (ENDPOINT, "--data-urlencode", TEXT),
        (ENDPOINT, 'application/json" \\\n', TEXT),
    ],
)
def test_curl_asks_for_a_text(listen: Callable[..., str], document: str, mark: str, text: str) -> None:
    assert shell(example(document, "bash", mark, listen()))["outputs"] == text


def test_curl_asks_in_a_chat(listen: Callable[..., str]) -> None:
    answer = shell(example(ENDPOINT, "bash", "/v1/chat/completions", listen()))
    assert answer["choices"][0]["message"]["content"] == TEXT


async def test_grpcurl(served: Served) -> None:
    """What it does with its arguments, as no Debian has it: read the JSON as a message, and call the method."""
    words = shlex.split(example(ENDPOINT, "bash", "grpcurl", served.address).replace("\\\n", " "))
    address, method = words[-2:]
    assert (address, method) == (served.address, "calyx.v1.InferenceService/Generate")
    request = json_format.Parse(words[words.index("-d") + 1], GenerateRequest())
    assert "".join([piece.text async for piece in served.stub.Generate(request, timeout=20)]) == TEXT
