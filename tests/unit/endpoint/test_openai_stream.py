"""Streams of the OpenAI API on the wire: their order, and what a failure in the middle looks like."""

import asyncio
import json
import threading
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from openai import APIError, OpenAI

from services.common.errors import Unavailable
from tests.unit.endpoint.conftest import Servers, until
from tests.unit.endpoint.fake_model import NAME, FakeModel

ASK = {"model": NAME, "messages": [{"role": "user", "content": "Hi"}], "stream": True}


def events(body: str) -> list[Any]:
    """Return what each event carries; the last one may be no JSON."""
    *parts, nothing = body.split("\n\n")
    assert nothing == ""
    data = [part.removeprefix("data: ") for part in parts]
    return [one if one == "[DONE]" else json.loads(one) for one in data]


def test_the_order_of_events(listen: Callable[..., str]) -> None:
    ask = {**ASK, "max_tokens": 2, "stream_options": {"include_usage": True}}
    answer = httpx.post(f"http://{listen()}/v1/chat/completions", json=ask)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    *chunks, usage, done = events(answer.text)
    assert done == "[DONE]"
    assert usage["choices"] == []
    assert usage["usage"]["completion_tokens"] == 2
    assert all(chunk["usage"] is None for chunk in chunks)
    assert [(one["choices"][0]["delta"], one["choices"][0]["finish_reason"]) for one in chunks] == [
        ({"role": "assistant", "content": ""}, None),
        ({"content": "O"}, None),
        ({"content": "n"}, None),
        ({}, "length"),
    ]


def test_nobody_who_did_not_ask_for_it_gets_usage(listen: Callable[..., str]) -> None:
    answer = httpx.post(f"http://{listen()}/v1/chat/completions", json={**ASK, "max_tokens": 2})
    assert not any("usage" in event for event in events(answer.text)[:-1])


def test_a_failure_in_the_middle_is_an_event_and_no_end(listen: Callable[..., str], model: FakeModel) -> None:
    address = listen()
    model.fail_at[3] = Unavailable("blocks 3-9 have no server", "wait for one")
    *chunks, last = events(httpx.post(f"http://{address}/v1/chat/completions", json=ASK).text)
    assert last["error"]["message"] == "blocks 3-9 have no server — wait for one"
    assert (last["error"]["type"], last["error"]["code"]) == ("server_error", "unavailable")
    assert all(chunk["choices"][0]["finish_reason"] is None for chunk in chunks)
    assert len(chunks) == 3

    model.fail_at[3] = ValueError("inside: my secret prompt")
    with OpenAI(base_url=f"http://{address}/v1", api_key="none", max_retries=0) as client:
        stream = client.chat.completions.create(**ASK)
        with pytest.raises(APIError, match=r"failed unexpectedly \(ValueError\)"):
            list(stream)


def test_a_failure_of_one_choice_ends_all(listen: Callable[..., str], model: FakeModel) -> None:
    model.gate = threading.Semaphore(0)
    address = listen(max_running=1)
    model.fail_at[3] = Unavailable("blocks 3-9 have no server", "wait for one")
    model.gate.release(3)
    *_, last = events(httpx.post(f"http://{address}/v1/chat/completions", json={**ASK, "n": 5}).text)
    assert "blocks 3-9" in last["error"]["message"]
    model.gate.release(1000)
    assert events(httpx.post(f"http://{address}/v1/chat/completions", json=ASK).text)[-1] == "[DONE]"
    assert len(model.sessions) < 5


def test_a_failure_before_the_first_piece_has_its_status(
    listen: Callable[..., str], model: FakeModel
) -> None:
    model.fail_at[1] = Unavailable("blocks 3-9 have no server", "wait for one")
    answer = httpx.post(f"http://{listen()}/v1/chat/completions", json=ASK)
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert "blocks 3-9" in answer.json()["error"]["message"]


def test_one_too_many_is_told_when_to_come_again(listen: Callable[..., str], model: FakeModel) -> None:
    model.gate = threading.Semaphore(1)
    address = listen(max_running=1, max_waiting=1)
    with httpx.stream("POST", f"http://{address}/v1/chat/completions", json=ASK) as first:
        assert model.stepped.acquire(timeout=20)
        answer = httpx.post(f"http://{address}/v1/chat/completions", json={**ASK, "n": 2})
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "overloaded"
        assert int(answer.headers["retry-after"]) > 0
        model.gate.release(1000)
        assert events(first.read().decode())[-1] == "[DONE]"


@pytest.mark.parametrize("fields", [{}, {"stream": False}, {"n": 2}])
async def test_a_client_that_goes_away_stops_its_generation(
    listen: Callable[..., str], model: FakeModel, fields: dict[str, Any]
) -> None:
    model.gate = threading.Semaphore(2)
    model.script = model.script[:-1]  # it never ends by itself
    address = listen(max_running=2, max_waiting=0)
    async with httpx.AsyncClient() as client:
        ask = {**ASK, "max_tokens": 400, **fields}
        asking = asyncio.create_task(client.post(f"http://{address}/v1/chat/completions", json=ask))
        for _ in range(2):
            assert await asyncio.to_thread(model.stepped.acquire, timeout=20)
        asking.cancel()
        await asyncio.wait([asking])

    def gone() -> bool:
        # Each look lets one more step happen: the generation ends by being abandoned, not by its length.
        assert model.gate is not None
        model.gate.release(1)
        return all(session.closed.wait(0.02) for session in model.sessions)

    await asyncio.to_thread(until, gone)
    assert all(len(session.steps) < 100 for session in model.sessions)


def test_the_endpoint_that_stops_says_so(listen: Servers, model: FakeModel) -> None:
    model.gate = threading.Semaphore(2)
    address = listen()
    with httpx.stream("POST", f"http://{address}/v1/chat/completions", json=ASK, timeout=30) as answer:
        parts = answer.iter_text()
        begun = next(parts)
        listen.stop(patience=0.1)
        *_, last = events(begun + "".join(parts))
    assert "the endpoint is stopping" in last["error"]["message"]
