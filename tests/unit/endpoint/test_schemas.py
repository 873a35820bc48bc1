"""Schemas are read for one caller after the other, and no longer than they may take."""

import asyncio
import gc
import threading
from typing import Any

import pytest

from services.common.errors import Refused
from services.endpoint.errors import WrongField
from services.endpoint.schemas import Schemas
from tests.unit.endpoint.fake_model import FakeModel

SCHEMA = {"type": "boolean"}


class Slow(FakeModel):
    """Its tokens are not to be had until the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.ready = threading.Event()

    @property  # type: ignore[override]
    def eos_token_ids(self) -> frozenset[int]:
        assert self.ready.wait(20)
        return frozenset({self.tokenizer.eos_token_id})

    @eos_token_ids.setter
    def eos_token_ids(self, _: frozenset[int]) -> None:
        pass


async def test_one_that_takes_too_long_and_one_that_waits_behind_it() -> None:
    slow, schemas = Slow(), Schemas(patience=0.05)
    first = asyncio.create_task(schemas.grammar(slow, SCHEMA))
    await asyncio.sleep(0)
    with pytest.raises(Refused, match="the schemas of others are being read"):
        await schemas.grammar(FakeModel(), SCHEMA)
    with pytest.raises(WrongField, match=r"response_format: reading the schema takes longer than 0\.05 s"):
        await first
    slow.ready.set()
    assert await Schemas().grammar(slow, SCHEMA)


async def test_a_tokenizer_that_it_is_not_made_for() -> None:
    class Tokenizer:
        def __len__(self) -> int:
            return 5

    model = FakeModel()
    model.tokenizer = Tokenizer()  # type: ignore[assignment]
    with pytest.raises(WrongField, match="are of a kind that it is not made for — ask for the format"):
        await Schemas().grammar(model, SCHEMA)


async def test_a_number_that_is_too_large_for_one() -> None:
    with pytest.raises(WrongField, match="or has too large a number"):
        await Schemas().grammar(FakeModel(), {"const": float("inf")})  # 1e999 in JSON


async def test_a_vocabulary_is_read_once_and_goes_with_its_model(monkeypatch: pytest.MonkeyPatch) -> None:
    schemas, model = Schemas(), FakeModel()
    known: Any = schemas._tokenizers
    await schemas.grammar(model, SCHEMA)
    (read,) = known.values()
    await schemas.grammar(model, {})
    assert list(known.values()) == [read]
    del model
    gc.collect()
    assert not known
