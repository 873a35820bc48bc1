"""Open pages hear of news at once, and of life between them."""

import asyncio

import pytest

from services.health.page.events import Listeners
from tests.unit.health.swarm_fakes import model, server


async def test_a_look_is_told(collector, directory):
    listeners = Listeners(collector)
    stream = listeners.stream()
    assert await anext(stream) == "retry: 3000\n\n"
    news = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    directory.records = [model(server())]
    await collector.update()
    assert await news == "event: look\ndata: {}\n\n"
    assert listeners.count == 1
    await stream.aclose()
    assert listeners.count == 0


async def test_a_failure_is_told_too(collector, directory):
    stream = Listeners(collector).stream()
    await anext(stream)
    news = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    directory.failure = OSError("gone")
    with pytest.raises(OSError, match="gone"):
        await collector.update()
    assert (await news).startswith("event: look")


async def test_silence_is_no_death(collector):
    stream = Listeners(collector, silence=0.01).stream()
    await anext(stream)
    assert await anext(stream) == ": still here\n\n"
