"""The client that docs/endpoint.md names does what it says."""

import asyncio
import runpy
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.endpoint.fake_model import NAME, FakeModel
from tests.unit.endpoint.grpc_pieces import Served

CLIENT = Path(__file__).parents[3] / "docs" / "examples" / "grpc_client.py"


async def test_the_client_lists_models_writes_an_answer_and_explains_errors(
    model: FakeModel, served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    main: Callable[[str, str], int] = runpy.run_path(str(CLIENT))["main"]
    assert await asyncio.to_thread(main, "Tell me a story: ", served.address) == 0
    assert capsys.readouterr().out.startswith(f"{NAME}: 1 MB in the endpoint\n")
    model.tokenizer.chat_template = None
    assert await asyncio.to_thread(main, "Hi", served.address) == 1
    assert capsys.readouterr().err.startswith(f"INVALID_ARGUMENT: model {NAME} has no chat template")
