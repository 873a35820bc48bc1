"""Who generates when: places, waiting, the time limit, and what is freed however an answer ends."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager

import pytest

from services.common.errors import InvalidInput, Refused, Unavailable
from services.endpoint.conversation import Conversation, Request
from services.endpoint.errors import OutOfTime
from services.endpoint.scheduler import Scheduler
from tests.unit.endpoint.fake_model import FakeModel

ASK = Request("Hi", max_new_tokens=40)
STREAM = Request("Hi", max_new_tokens=40, tokens_per_chunk=1)


@asynccontextmanager
async def scheduler(running: int = 2, waiting: int = 2, time_limit: float = 60.0) -> AsyncIterator[Scheduler]:
    one = Scheduler(running, waiting, time_limit)
    yield one
    await one.close()


async def stepped(model: FakeModel) -> None:
    """Wait for one more step of some session."""
    assert await asyncio.to_thread(model.stepped.acquire, timeout=20)


async def closed(model: FakeModel, index: int = 0) -> None:
    assert await asyncio.to_thread(model.sessions[index].closed.wait, 20)


async def test_pieces_come_in_order_and_the_last_says_so(model: FakeModel) -> None:
    async with scheduler() as one:
        chunks = [chunk async for chunk in one.run(Conversation(model, 100), STREAM)]
    assert "".join(chunk.text for chunk in chunks) == "Once upon a time."
    assert [chunk.finish is None for chunk in chunks] == [True] * 17 + [False]


async def test_a_conversation_stays_open_after_an_answer_and_is_freed_at_its_end(model: FakeModel) -> None:
    conversation = Conversation(model, 100)
    async with scheduler() as one:
        await one.complete(conversation, ASK)
        assert conversation.usable
        assert not model.sessions[0].closed.is_set()
        one.end(conversation)
        one.end(conversation)
    assert model.sessions[0].closed.is_set()


async def test_no_more_run_at_once_than_there_are_places(model: FakeModel) -> None:
    model.gate = threading.Semaphore(0)
    async with scheduler(running=2, waiting=9) as one:
        answers = [asyncio.create_task(one.complete(Conversation(model, 100), ASK)) for _ in range(5)]
        model.gate.release(2)
        await stepped(model)
        await stepped(model)
        assert len(model.sessions) == 2
        model.gate.release(1000)
        texts = {chunk.text for chunk in await asyncio.gather(*answers)}
    assert texts == {"Once upon a time."}
    assert len(model.sessions) == 5


async def test_those_who_wait_are_served_in_order(model: FakeModel) -> None:
    model.gate = threading.Semaphore(0)
    order: list[int] = []

    async def ask(one: Scheduler, number: int) -> None:
        await one.complete(Conversation(model, 100), ASK)
        order.append(number)

    async with scheduler(running=1, waiting=9) as one:
        answers = []
        for number in range(5):
            answers.append(asyncio.create_task(ask(one, number)))
            while one.has_place or one.waiting < number:
                await asyncio.sleep(0)
        model.gate.release(1000)
        await asyncio.gather(*answers)
    assert order == [0, 1, 2, 3, 4]


async def test_one_too_many_is_refused_and_the_next_is_served(model: FakeModel) -> None:
    model.gate = threading.Semaphore(1)
    async with scheduler(running=1, waiting=1) as one:
        first = asyncio.create_task(one.complete(Conversation(model, 100), ASK))
        await stepped(model)
        second = asyncio.create_task(one.complete(Conversation(model, 100), ASK))
        refused = Conversation(model, 100)
        while one.waiting == 0:
            await asyncio.sleep(0)
        with pytest.raises(Refused, match="all places are taken and 1 requests wait"):
            await one.complete(refused, ASK)
        model.gate.release(1000)
        await asyncio.gather(first, second)
        assert (await one.complete(refused, ASK)).text == "Once upon a time."


async def test_no_waiting_means_refused_at_once(model: FakeModel) -> None:
    model.gate = threading.Semaphore(1)
    async with scheduler(running=1, waiting=0) as one:
        first = asyncio.create_task(one.complete(Conversation(model, 100), ASK))
        await stepped(model)
        with pytest.raises(Refused):
            await one.complete(Conversation(model, 100), ASK)
        model.gate.release(1000)
        await first


async def test_one_who_gives_up_waiting_leaves_the_queue(model: FakeModel) -> None:
    model.gate = threading.Semaphore(1)
    async with scheduler(running=1, waiting=1) as one:
        first = asyncio.create_task(one.complete(Conversation(model, 100), ASK))
        await stepped(model)
        impatient = asyncio.create_task(one.complete(Conversation(model, 100), ASK))
        while one.waiting == 0:
            await asyncio.sleep(0)
        impatient.cancel()
        await asyncio.wait([impatient])
        assert one.waiting == 0
        model.gate.release(1000)
        await first
        await one.complete(Conversation(model, 100), ASK)


async def leave(one: Scheduler, model: FakeModel, conversation: Conversation) -> None:
    """Ask for one answer and go after its third step."""
    asking = asyncio.create_task(one.complete(conversation, ASK))
    for _ in range(3):
        await stepped(model)
    asking.cancel()
    await asyncio.wait([asking])


async def leave_stream(one: Scheduler, model: FakeModel, conversation: Conversation) -> None:
    """Read one piece of an answer and go after its third step."""
    async with aclosing(one.run(conversation, STREAM)) as chunks:
        assert (await anext(chunks)).text == "O"
        for _ in range(3):
            await stepped(model)


@pytest.mark.parametrize("go", [leave, leave_stream])
async def test_whoever_leaves_stops_the_generation_with_the_step_that_runs(
    model: FakeModel, go: Callable[[Scheduler, FakeModel, Conversation], Awaitable[None]]
) -> None:
    model.gate = threading.Semaphore(3)
    conversation = Conversation(model, 100)
    async with scheduler(running=1, waiting=0) as one:
        await go(one, model, conversation)
        assert not conversation.usable
        model.gate.release(1000)
        await closed(model)
        assert len(model.sessions[0].steps) in {3, 4}
        await free_place(one)
        assert (await one.complete(Conversation(model, 100), ASK)).text == "Once upon a time."


async def test_whoever_reads_slowly_keeps_no_place(model: FakeModel) -> None:
    async with (
        scheduler(running=1, waiting=0) as one,
        aclosing(one.run(Conversation(model, 100), STREAM)) as slow,
    ):
        assert (await anext(slow)).text == "O"
        await free_place(one)
        assert (await one.complete(Conversation(model, 100), ASK)).text == "Once upon a time."
        assert "".join([chunk.text async for chunk in slow]) == "nce upon a time."


async def test_places_for_several_answers_are_there_or_not(model: FakeModel) -> None:
    model.gate = threading.Semaphore(1)
    async with scheduler(running=2, waiting=1) as one:
        one.require_places(3)
        with pytest.raises(InvalidInput, match="4 answers at once are too many for 3 places"):
            one.require_places(4)
        first = asyncio.create_task(one.complete(Conversation(model, 100), ASK))
        await stepped(model)
        one.require_places(2)
        with pytest.raises(Refused, match="2 of 3 places are free, 3 are needed"):
            one.require_places(3)
        model.gate.release(1000)
        await first
        one.require_places(3)


async def free_place(one: Scheduler) -> None:
    while not one.has_place:
        await asyncio.sleep(0)


async def test_a_step_that_hangs_is_broken_off_and_its_place_is_given_away(model: FakeModel) -> None:
    model.gate = threading.Semaphore(0)
    async with scheduler(running=1, waiting=0, time_limit=1.0) as one:
        with pytest.raises(Unavailable, match=r"longer than 1 s"):
            await one.complete(Conversation(model, 100), ASK)
        await closed(model)
        await free_place(one)
        model.gate.release(1000)
        assert (await one.complete(Conversation(model, 100), ASK)).text == "Once upon a time."
    assert model.sessions[0].steps == []


async def test_waiting_counts_as_time(model: FakeModel) -> None:
    model.gate = threading.Semaphore(0)
    async with scheduler(running=1, waiting=1, time_limit=1.0) as one:
        asks = [one.complete(Conversation(model, 100), ASK) for _ in range(2)]
        errors = await asyncio.gather(*asks, return_exceptions=True)
        assert [type(error) for error in errors] == [OutOfTime, OutOfTime]
    assert all(session.steps == [] for session in model.sessions)


async def test_blocks_that_go_away_end_the_answer_and_the_next_one_works(model: FakeModel) -> None:
    model.fail_at[3] = Unavailable("blocks 10-19 have no server", "wait for one")
    conversation = Conversation(model, 100)
    async with scheduler(running=1) as one:
        chunks = one.run(conversation, STREAM)
        assert [(await anext(chunks)).text for _ in range(2)] == ["O", "n"]
        with pytest.raises(Unavailable, match="blocks 10-19"):
            await anext(chunks)
        await closed(model)
        assert not conversation.usable
        assert (await one.complete(Conversation(model, 100), ASK)).text == "Once upon a time."


async def test_a_request_that_does_not_fit_leaves_the_conversation_as_it_was(model: FakeModel) -> None:
    conversation = Conversation(model, 30)
    async with scheduler() as one:
        with pytest.raises(InvalidInput):
            await one.complete(conversation, Request("x" * 99, max_new_tokens=1))
        assert conversation.usable
        assert (await one.complete(conversation, Request("Hi", max_new_tokens=4))).text == "Once"


async def test_many_at_once_each_get_their_own_text(model: FakeModel) -> None:
    async with scheduler(running=8, waiting=100) as one:
        conversations = [Conversation(model, 100) for _ in range(40)]
        chunks = await asyncio.gather(*(one.complete(conversation, ASK) for conversation in conversations))
    assert [chunk.text for chunk in chunks] == ["Once upon a time."] * 40


async def test_the_log_of_an_answer_holds_numbers_and_no_text(
    model: FakeModel, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    async with scheduler() as one:
        await one.complete(Conversation(model, 100), Request("my secret prompt", max_new_tokens=40))
    (record,) = [record for record in caplog.records if record.message == "answer ended"]
    assert (record.prompt_tokens, record.tokens, record.outcome) == (16, 18, "end_of_text")
    assert not any("secret" in str(vars(record)) or "upon" in str(vars(record)) for record in caplog.records)


async def test_closing_breaks_off_what_runs_and_frees_it_before_it_returns(model: FakeModel) -> None:
    """The models close next: servers are told through them."""
    model.gate = threading.Semaphore(2)
    async with scheduler() as one:
        asking = asyncio.create_task(one.complete(Conversation(model, 100), ASK))
        await stepped(model)
        await stepped(model)
        closing = asyncio.create_task(one.close())
        await asyncio.wait([closing, asking])
        assert model.sessions[0].closed.is_set()
        with pytest.raises(Unavailable, match="stopping"):
            asking.result()
    assert len(model.sessions[0].steps) == 2
