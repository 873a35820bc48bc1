"""The endpoint as it is really served: uvicorn and WebSockets on a port of the loopback."""

import asyncio
import json
import logging
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from calyx.v1.inference_pb2 import ListModelsRequest
from calyx.v1.inference_pb2_grpc import InferenceServiceStub
from services.common.logs import discreet
from tests.unit.endpoint.conftest import Servers, free_port, until
from tests.unit.endpoint.fake_model import NAME, FakeModel

DOCUMENT = Path(__file__).parents[3] / "docs" / "endpoint.md"
OPEN = {"type": "open_inference_session", "model": NAME, "max_length": 200}
SECRET = "my secret prompt"


async def say(socket: ClientConnection, **message: Any) -> Any:
    await socket.send(json.dumps(message))
    return json.loads(await socket.recv())


async def works(address: str) -> None:
    async with connect(f"ws://{address}/api/v2/generate") as socket:
        assert await say(socket, **OPEN) == {"ok": True}
        answer = await say(socket, type="generate", inputs="Hi", max_new_tokens=4)
        assert answer["outputs"] == "Once"


def examples(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)


def test_grpc_is_served_beside_it(listen: Callable[..., str]) -> None:
    port = free_port()
    listen(grpc_listen_port=port)
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        (model,) = InferenceServiceStub(channel).ListModels(ListModelsRequest(), timeout=20).models
    assert (model.name, model.loaded) == (NAME, True)


async def test_the_python_example_of_the_document_runs(listen: Callable[..., str]) -> None:
    example = examples("python")[0]
    scope: dict[str, Any] = {"__name__": "example"}
    exec(example, scope)
    scope.update(URL=listen(), MODEL_NAME=NAME)
    answer = await scope["ws_generate"]("Tell me a story: ")
    assert (answer["outputs"], answer["token_count"]) == ("Once upon a time.", 18)


def test_the_form_example_of_the_document_runs(listen: Callable[..., str]) -> None:
    fields = dict(re.findall(r'-(?:d|-data-urlencode) "(\w+)=([^"]*)"', examples("bash")[0]))
    assert set(fields) == {"model", "inputs", "max_new_tokens"}
    answer = httpx.post(f"http://{listen()}/api/v1/generate", data={**fields, "model": NAME})
    assert answer.json()["outputs"] == "Once upon a time."


def test_the_json_example_of_the_document_runs(listen: Callable[..., str]) -> None:
    (body,) = re.findall(r"-d '(\{.*\})'", examples("bash")[1])
    answer = httpx.post(f"http://{listen()}/api/v1/generate", json={**json.loads(body), "model": NAME})
    assert answer.json()["outputs"] == "Once upon a time."


async def test_a_message_far_over_the_limit_ends_the_connection_alone(listen: Callable[..., str]) -> None:
    address = listen(max_message_bytes=1024)
    async with connect(f"ws://{address}/api/v2/generate") as socket:
        await socket.send("x" * 5000)
        with pytest.raises(ConnectionClosed) as caught:
            await socket.recv()
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1009
    await works(address)


async def test_both_sides_may_ping_while_an_answer_is_generated(
    listen: Servers, model: FakeModel, caplog: pytest.LogCaptureFixture
) -> None:
    model.gate = threading.Semaphore(0)
    listen.ping_interval = 0.05
    frames = logging.getLogger("frames")
    caplog.set_level(logging.DEBUG, "frames")
    async with connect(f"ws://{listen()}/api/v2/generate", ping_interval=None, logger=frames) as socket:
        await say(socket, **OPEN)
        await socket.send(json.dumps({"type": "generate", "inputs": "Hi", "max_new_tokens": 4}))
        async with asyncio.timeout(20):
            await (await socket.ping())
        await asyncio.to_thread(until, lambda: "< PING" in caplog.text and "> PONG" in caplog.text)
        model.gate.release(1000)
        assert json.loads(await socket.recv())["outputs"] == "Once"


@pytest.mark.parametrize("stop_sequence", [None, "zzz"])
async def test_a_client_whose_machine_dies_stops_its_generation(
    listen: Callable[..., str], model: FakeModel, stop_sequence: str | None
) -> None:
    model.gate = threading.Semaphore(3)
    address = listen(max_running=1, max_waiting=0)
    socket = await connect(f"ws://{address}/api/v2/generate")
    await say(socket, **OPEN)
    ask = {"type": "generate", "inputs": "Hi", "max_length": 190, "stop_sequence": stop_sequence}
    await socket.send(json.dumps(ask))
    for _ in range(3):
        assert await asyncio.to_thread(model.stepped.acquire, timeout=20)
    socket.transport.abort()
    steps = 3

    def gone() -> bool:
        # Each look lets one more step happen: the generation ends by being abandoned, not by its length.
        nonlocal steps
        model.gate.release(1)
        steps += 1
        return model.sessions[0].closed.wait(0.05)

    await asyncio.to_thread(until, gone)
    assert len(model.sessions[0].steps) < 100
    model.gate.release(1000)
    await works(address)


async def test_a_request_whose_client_hangs_up_stops_its_generation(
    listen: Callable[..., str], model: FakeModel
) -> None:
    model.gate = threading.Semaphore(2)
    address = listen(max_running=1, max_waiting=0)
    async with httpx.AsyncClient() as client:
        ask = {"inputs": "Hi", "max_new_tokens": 400}
        asking = asyncio.create_task(client.post(f"http://{address}/api/v1/generate", json=ask))
        for _ in range(2):
            assert await asyncio.to_thread(model.stepped.acquire, timeout=20)
        asking.cancel()
        await asyncio.wait([asking])

    def gone() -> bool:
        model.gate.release(1)
        return model.sessions[0].closed.wait(0.05)

    await asyncio.to_thread(until, gone)
    assert len(model.sessions[0].steps) < 100
    model.gate.release(1000)
    await works(address)


async def test_no_log_of_any_level_holds_a_prompt(
    listen: Callable[..., str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    uvicorn_log = logging.getLogger("uvicorn.error")
    uvicorn_log.addFilter(discreet)
    try:
        address = listen()
        async with connect(f"ws://{address}/api/v2/generate", logger=logging.getLogger("quiet")) as socket:
            logging.getLogger("quiet").setLevel(logging.ERROR)
            await say(socket, **OPEN)
            await say(socket, type="generate", inputs=SECRET, max_new_tokens=4)
            await say(socket, type="generate", inputs=SECRET, max_new_tokens=-4)
            await socket.send(SECRET.encode() + b"\xff", text=True)
            with pytest.raises(ConnectionClosed):
                await socket.recv()
        async with httpx.AsyncClient() as client:
            await client.post(
                f"http://{address}/api/v1/generate", data={"inputs": SECRET, "max_length": "60"}
            )
            await client.post(f"http://{address}/api/v1/generate", content=SECRET)
    finally:
        uvicorn_log.removeFilter(discreet)
    logged = [
        str(vars(record)) for record in caplog.records if not record.name.startswith(("quiet", "httpcore"))
    ]
    assert any("answer ended" in line for line in logged)
    assert any("UnicodeDecodeError" in line for line in logged)
    assert not any("secret" in line for line in logged)


async def test_a_page_of_another_origin_is_kept_out(listen: Callable[..., str]) -> None:
    address = listen()
    with pytest.raises(Exception, match="403"):
        await connect(f"ws://{address}/api/v2/generate", origin="https://evil.example")
    async with connect(f"ws://{address}/api/v2/generate", origin=f"http://{address}") as socket:
        assert await say(socket, **OPEN) == {"ok": True}
