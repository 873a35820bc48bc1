"""gRPC as real clients see it: what it answers, what each error is, and what clients that leave do."""

import asyncio
import threading
from typing import Any

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from calyx.v1.inference_pb2 import (
    FINISH_REASON_END_OF_TEXT,
    FINISH_REASON_LENGTH,
    FINISH_REASON_STOP_SEQUENCE,
    FINISH_REASON_UNSPECIFIED,
    GenerateRequest,
    ListModelsRequest,
)
from services.common.errors import Broken, Unavailable
from services.endpoint.models import Models, Offer
from tests.unit.endpoint.fake_model import NAME, FakeModel
from tests.unit.endpoint.grpc_pieces import Served, refusal, serving, until

Code = grpc.StatusCode
SERVICE = "calyx.v1.InferenceService"


async def test_an_answer_comes_in_pieces_and_the_last_one_says_why_it_is_the_last(served: Served) -> None:
    pieces = [piece async for piece in served.generate()]

    assert [(piece.text, piece.token_count) for piece in pieces] == [(letter, 1) for letter in "Once"]
    reasons = [piece.finish_reason for piece in pieces]
    assert reasons == [FINISH_REASON_UNSPECIFIED] * 3 + [FINISH_REASON_LENGTH]


async def test_a_stop_sequence_and_the_model_s_end_of_text_end_it_too(served: Served) -> None:
    *_, last = [piece async for piece in served.generate(stopping_parameters={"stop_sequences": ["pon"]})]
    assert (last.finish_reason, last.stop_sequence) == (FINISH_REASON_STOP_SEQUENCE, "pon")

    *_, last = [piece async for piece in served.generate(stopping_parameters=None)]
    assert (last.finish_reason, last.stop_sequence) == (FINISH_REASON_END_OF_TEXT, "")


async def test_what_names_no_limit_is_bounded_by_the_endpoint_s(models: Models) -> None:
    async with serving(models, answer_tokens=3) as served:
        *_, last = [piece async for piece in served.generate(stopping_parameters=None)]
    assert last.finish_reason == FINISH_REASON_LENGTH


async def test_a_chat_is_read_by_the_template_and_its_stop_sequence_is_not_told(
    served: Served, model: FakeModel
) -> None:
    messages = [{"role": "developer", "content": "Be brief"}, {"role": "user", "content": "Tell me"}]
    stops = {"stop_sequences": ["pon"]}
    pieces = [piece async for piece in served.chat(messages=messages, stopping_parameters=stops)]

    read = model.sessions[0].steps[0]
    assert model.tokenizer.decode(read) == (
        "<|im_start|>system\nBe brief<|im_end|>\n<|im_start|>user\nTell me<|im_end|>\n<|im_start|>assistant\n"
    )
    assert "".join(piece.text for piece in pieces) == "Once u"
    last = pieces[-1]
    assert (last.finish_reason, last.stop_sequence) == (FINISH_REASON_STOP_SEQUENCE, "pon")
    assert [piece.prompt_token_count for piece in pieces[-2:]] == [0, len(read)]


@pytest.mark.parametrize(
    ("template", "messages", "problem"),
    [
        (None, [{"role": "user", "content": "Hi"}], "has no chat template"),
        ("{{ raise_exception('Odd roles') }}", [{"role": "cat"}], "does not take them: Odd roles"),
        ("x", [], "messages: there are none"),
    ],
)
async def test_a_chat_that_the_template_does_not_take(
    served: Served, model: FakeModel, template: str | None, messages: list[dict[str, str]], problem: str
) -> None:
    model.tokenizer.chat_template = template
    code, details = await refusal(served.chat(messages=messages))
    assert code is Code.INVALID_ARGUMENT
    assert problem in details


async def test_an_alias_names_the_model_and_no_name_the_default_one(served: Served) -> None:
    assert [await served.text(model=name) for name in (NAME, "parrot", "")] == ["Once"] * 3


async def test_models_are_listed_with_their_aliases_and_memory(served: Served, models: Models) -> None:
    models.offer([*(one.offer for one in models.served), Offer("a/nother", FakeModel)])
    await until(lambda: len(models.served) == 2 and models.served[1].model is not None)

    one, other = (await served.stub.ListModels(ListModelsRequest())).models

    assert (one.name, list(one.aliases), one.loaded, one.problem) == (NAME, ["parrot"], True, "")
    assert (one.block_count, one.max_length, one.memory_bytes) == (30, 512, 1_000_000)
    assert other.name == "a/nother"


async def test_a_model_that_is_not_loaded_is_listed_with_the_reason(model: FakeModel) -> None:
    async with serving(Models({NAME: lambda: model})) as served:
        (one,) = (await served.stub.ListModels(ListModelsRequest())).models
        assert (one.loaded, one.problem, one.memory_bytes) == (False, "it is loading", 0)
        assert (await refusal(served.generate()))[0] is Code.UNAVAILABLE


@pytest.mark.parametrize(
    ("fields", "code", "problem"),
    [
        ({"model": "gpt-9"}, Code.NOT_FOUND, f"'gpt-9' is not served here — use {NAME} or parrot"),
        ({"inputs": ""}, Code.INVALID_ARGUMENT, "the text is empty"),
        ({"inputs": "x" * 600}, Code.INVALID_ARGUMENT, "Maximum length exceeded"),
        ({"stopping_parameters": {"max_new_tokens": 0}}, Code.INVALID_ARGUMENT, "max_new_tokens"),
        ({"stopping_parameters": {"max_new_tokens": 2**32 - 1}}, Code.INVALID_ARGUMENT, "Maximum length"),
        ({"stopping_parameters": {"stop_sequences": [""]}}, Code.INVALID_ARGUMENT, "stop sequences"),
        ({"parameters": {"temperature": float("nan")}}, Code.INVALID_ARGUMENT, "temperature"),
        ({"parameters": {"seed": 2**64 - 1}}, Code.INVALID_ARGUMENT, "seed"),
        ({"inputs": "x" * 5000}, Code.RESOURCE_EXHAUSTED, ""),
    ],
)
async def test_the_caller_s_mistakes(
    models: Models, fields: dict[str, Any], code: grpc.StatusCode, problem: str
) -> None:
    async with serving(models, max_message_bytes=4096) as served:
        found, details = await refusal(served.generate(**fields))
        assert found is code
        assert problem in details
        assert await served.text() == "Once"


@pytest.mark.parametrize(
    ("error", "code", "details"),
    [
        (
            Unavailable("no server for blocks 3:9", "wait"),
            Code.UNAVAILABLE,
            "no server for blocks 3:9 — wait",
        ),
        (Broken("not numbers"), Code.INTERNAL, "not numbers"),
        (KeyError("secret"), Code.INTERNAL, "the endpoint failed unexpectedly (KeyError)"),
    ],
)
async def test_what_fails_in_mid_stream_ends_it_with_a_status(
    served: Served, model: FakeModel, error: Exception, code: grpc.StatusCode, details: str
) -> None:
    model.fail_at[3] = error
    call = served.generate()
    assert [(await call.read()).text for _ in range(2)] == ["O", "n"]
    found = await refusal(call)
    assert found[0] is code
    assert found[1].startswith(details)
    assert "secret" not in found[1]
    assert model.sessions[0].closed.wait(20)


async def test_the_caller_s_deadline_stops_the_answer(served: Served, model: FakeModel) -> None:
    model.gate = threading.Semaphore(2)
    assert (await refusal(served.generate(timeout=0.5)))[0] is Code.DEADLINE_EXCEEDED
    await until(model.sessions[0].closed.is_set)
    assert len(model.sessions[0].steps) == 2


async def test_the_endpoint_s_own_limit_of_time_is_told(models: Models, model: FakeModel) -> None:
    model.gate = threading.Semaphore(1)
    async with serving(models, request_timeout=0.2) as served:
        code, details = await refusal(served.generate())
    assert code is Code.DEADLINE_EXCEEDED
    assert "took longer than 0.2 s" in details


@pytest.mark.parametrize("way", ["cancel", "close the channel"])
async def test_a_client_that_goes_away_stops_its_generation(
    models: Models, model: FakeModel, way: str
) -> None:
    model.gate = threading.Semaphore(3)
    async with serving(models, max_running=1, max_waiting=0) as served:
        call = served.generate()
        for _ in range(3):
            await call.read()
        if way == "cancel":
            call.cancel()
        else:
            await served.channel.close()
        await until(model.sessions[0].closed.is_set)
        assert len(model.sessions[0].steps) == 3
        assert served.scheduler.has_place


async def test_more_than_may_wait_are_refused_and_the_others_answered(
    models: Models, model: FakeModel
) -> None:
    model.gate = threading.Semaphore(0)
    async with serving(models, max_running=2, max_waiting=3) as served:
        calls = [asyncio.ensure_future(served.text()) for _ in range(50)]
        await until(lambda: sum(call.done() for call in calls) == 45)
        model.gate.release(1000)
        answers = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(answer == "Once" for answer in answers) == 5
    refused = [answer for answer in answers if isinstance(answer, grpc.aio.AioRpcError)]
    assert {(one.code(), "places are" in (one.details() or "")) for one in refused} == {
        (Code.RESOURCE_EXHAUSTED, True)
    }


async def test_stopping_breaks_answers_off_with_a_status(models: Models, model: FakeModel) -> None:
    model.gate = threading.Semaphore(1)
    async with serving(models) as served:
        call = served.generate()
        await call.read()
        await served.scheduler.close()
        code, details = await refusal(call)
    assert code is Code.UNAVAILABLE
    assert "the endpoint is stopping" in details


@pytest.mark.parametrize("method", ["Generate", "ListModels", "Nothing"])
async def test_what_is_no_message_is_a_status(served: Served, method: str) -> None:
    @settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
    @given(some.binary(max_size=200))
    def send(junk: bytes) -> None:
        async def once() -> None:
            async for _ in served.channel.unary_stream(f"/{SERVICE}/{method}")(junk, timeout=20):
                pass

        # Hypothesis knows no coroutines, so each example runs in the loop of the test from a thread
        try:
            asyncio.run_coroutine_threadsafe(once(), loop).result(20)
        except grpc.aio.AioRpcError as error:
            codes.add(error.code())

    loop, codes = asyncio.get_running_loop(), set[grpc.StatusCode]()
    await asyncio.to_thread(send)
    assert codes <= {Code.INVALID_ARGUMENT, Code.NOT_FOUND, Code.UNIMPLEMENTED}
    assert await served.text() == "Once"


def test_a_request_holds_no_text_that_is_not_unicode() -> None:
    with pytest.raises((ValueError, UnicodeEncodeError)):
        GenerateRequest(inputs="\ud800").SerializeToString()
