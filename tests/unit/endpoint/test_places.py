"""Who gets a place when many want one."""

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest
from starlette.types import Receive, Scope, Send

from services.common.errors import Refused
from services.endpoint.access.admission import Access
from services.endpoint.access.gate import KeyGate
from services.endpoint.access.keys import KeyFile, KeyRing
from services.endpoint.places import CALLER, Places


async def turn(places: Places, caller: str, order: list[str]) -> None:
    """Take a place as this caller, write that down, and give it back."""
    CALLER.set(caller)
    await places.take()
    order.append(caller)
    await asyncio.sleep(0)
    places.give_back()


def asking(places: Places, callers: str, order: list[str]) -> list[asyncio.Task[None]]:
    return [asyncio.create_task(turn(places, caller, order)) for caller in callers]


async def test_callers_take_turns_whoever_asked_first() -> None:
    places, order = Places(1, 10), list[str]()
    await places.take()
    tasks = asking(places, "aaaabc", order)
    await asyncio.sleep(0)
    assert places.waiting == 6

    places.give_back()
    await asyncio.gather(*tasks)

    assert "".join(order) == "abcaaa"
    assert (places.free, places.waiting) == (1, 0)


async def test_when_too_many_wait_the_newest_of_the_loudest_is_refused() -> None:
    places, order = Places(1, 3), list[str]()
    await places.take()
    tasks = asking(places, "aaab", order)
    await asyncio.sleep(0)

    places.give_back()
    ended = await asyncio.gather(*tasks, return_exceptions=True)

    assert [type(one) for one in ended] == [type(None), type(None), Refused, type(None)]
    assert "".join(order) == "aba"


async def test_among_equals_the_last_one_is_refused() -> None:
    places, order = Places(1, 2), list[str]()
    await places.take()
    tasks = asking(places, "abc", order)
    with pytest.raises(Refused, match="all places are taken and 2 requests wait already"):
        await tasks[2]

    places.give_back()
    await asyncio.gather(*tasks[:2])
    assert order == ["a", "b"]


@pytest.mark.parametrize("moment", ["waiting", "as its turn comes", "after its turn came"])
async def test_who_gives_up_takes_no_place_along(moment: str) -> None:
    places, order = Places(1, 5), list[str]()
    await places.take()
    impatient, patient = asking(places, "ab", order)
    await asyncio.sleep(0)

    if moment == "after its turn came":
        places.give_back()
        impatient.cancel()
    else:
        impatient.cancel()
        if moment == "waiting":
            with suppress(asyncio.CancelledError):
                await impatient
            assert places.waiting == 1
        places.give_back()
    await asyncio.wait([impatient, patient])

    assert order == ["b"]
    assert (places.free, places.waiting) == (1, 0)


async def caller_behind_the_gate(keys: KeyFile, headers: list[tuple[bytes, bytes]]) -> str:
    """Send a request from 10.42.0.7 through the gate, and return who asks beyond it."""
    seen = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(CALLER.get())

    async def never(*_: object) -> None:
        pytest.fail("it was refused")

    scope = {"type": "http", "path": "/v1/models", "client": ("10.42.0.7", 50000), "headers": headers}
    await KeyGate(application, Access(keys))(scope, never, never)  # type: ignore[arg-type]
    return seen[0]


async def test_a_caller_is_its_key_or_its_address(tmp_path: Path) -> None:
    keys = KeyFile(tmp_path / "keys.json")
    assert await caller_behind_the_gate(keys, []) == "10.42.0.7"

    made = []

    def add(ring: KeyRing) -> KeyRing:
        ring, key = ring.with_key("laptop", now=0)
        made.append(key)
        return ring

    keys.change(add)
    bearer = [(b"authorization", f"Bearer {made[0]}".encode())]
    assert await caller_behind_the_gate(keys, bearer) == "laptop"
