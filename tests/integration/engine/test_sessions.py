"""Many sessions of one process at once, on real servers: each gets its own text, whatever becomes of the others."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

import pytest
import torch

from services.common.errors import InvalidInput, Unavailable
from services.swarm.client import lanes
from services.swarm.client.routes import PetalsRoutes
from services.swarm.client.session import AsyncSession
from services.swarm.model import SwarmModel
from tests.integration.engine.reference import Text, plain_transformers
from tests.swarm_processes import START_SECONDS, Room, Swarm, until_served

SESSIONS = 32


def watched(work: Coroutine[Any, Any, Any], seconds: float = START_SECONDS) -> Any:
    """Run a coroutine; TimeoutError, and no hanging test, if it deadlocks."""
    return asyncio.run(asyncio.wait_for(work, seconds))


async def greedy(session: AsyncSession, text: Text) -> list[int]:
    """Continue the text's prompt by as many tokens as it has."""
    made: list[int] = []
    tokens = text.prompt
    while len(made) < len(text.tokens):
        tokens = [int((await session.logits(tokens)).argmax())]
        made += tokens
    return made


async def greedy_once(model: SwarmModel, text: Text) -> list[int]:
    session = model.open_session(text.length)
    try:
        return await greedy(session, text)
    finally:
        await session.close()


def texts(swarm: Swarm, model: str, new: int = 12) -> list[Text]:
    return [plain_transformers(swarm.models / model, prompt=5 + 9 * number, new=new) for number in range(4)]


def test_many_sessions_at_once_each_get_their_own_text(swarm: Swarm, model: str) -> None:
    servers = [swarm.serve(model, blocks) for blocks in ("0:2", "2:4")]
    with swarm.client(model) as client:
        until_served(client)
        wanted = texts(swarm, model) * (SESSIONS // 4)

        async def all_at_once() -> list[list[int]]:
            return await asyncio.gather(*(greedy_once(client.model, text) for text in wanted))

        assert watched(all_at_once()) == [text.tokens for text in wanted]
    swarm.stop(*servers)


@pytest.mark.parametrize("way", ["together", "passed on", "pushed"])
def test_steps_go_together_or_from_server_to_server(
    swarm: Swarm,
    model: str,
    way: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    servers = [swarm.serve(model, blocks, CALYX_NUM_HANDLERS="2") for blocks in ("0:2", "2:4")]
    messages: list[int] = []
    pack = lanes.pack
    monkeypatch.setattr(
        lanes, "pack", lambda parts, hidden: messages.append(len(parts)) or pack(parts, hidden)
    )
    monkeypatch.setattr(PetalsRoutes, "pushing_pays", lambda *_: way == "pushed")
    monkeypatch.setattr(PetalsRoutes, "passing_on_pays", lambda *_: way == "passed on")
    with swarm.client(model) as client:
        until_served(client)
        wanted = texts(swarm, model) * 4
        watched(greedy_once(client.model, wanted[0]))  # until it knows the servers
        caplog.clear()
        messages.clear()

        async def all_at_once() -> list[list[int]]:
            return await asyncio.gather(*(greedy_once(client.model, text) for text in wanted))

        assert watched(all_at_once()) == [text.tokens for text in wanted]
    swarm.stop(*servers)
    assert "a server failed in the middle of a text" not in caplog.text
    steps = len(wanted) * (len(wanted[0].tokens) - 1)
    if way == "passed on":
        assert sum(messages) == steps + len(wanted), "a text's first step goes to both servers"
    else:
        assert sum(messages) == (2 * steps if way == "together" else 0)
    assert len(messages) <= steps, "on each server, at least two of sixteen go together on the average"


def test_a_server_dies_under_many_sessions(swarm: Swarm, model: str) -> None:
    servers = [swarm.serve(model, blocks) for blocks in ("0:2", "2:4", "2:4")]
    for server in servers:
        server.until_logged("serving")
    with swarm.client(model) as client:
        until_served(client)
        wanted = texts(swarm, model, new=60) * 2

        async def with_a_loss(doomed: Room) -> list[list[int]]:
            sessions = [client.model.open_session(text.length) for text in wanted]
            texts = [
                asyncio.create_task(greedy(session, text))
                for session, text in zip(sessions, wanted, strict=True)
            ]
            while min(session.position for session in sessions) < 40:
                await asyncio.sleep(0.01)
            doomed.kill()
            made = await asyncio.gather(*texts)
            await asyncio.gather(*(session.close() for session in sessions))
            return made

        assert watched(with_a_loss(servers[1])) == [text.tokens for text in wanted]
    swarm.stop(*servers)


def test_closed_and_abandoned_sessions_free_the_servers_cache(swarm: Swarm, model: str) -> None:
    """The server has room for two sessions; a hundred come one after the other, and half of them leave mid-step."""
    server = swarm.serve(model, "0:4", CALYX_ATTN_CACHE_TOKENS="256", CALYX_MAX_SESSION_TOKENS="256")
    with swarm.client(model, route_timeout=START_SECONDS) as client:
        until_served(client)

        async def come_and_go() -> None:
            for number in range(100):
                session = client.model.open_session(120)
                await session.logits([5, 6, 7])
                step = asyncio.create_task(session.logits([8] * 100))
                if number % 2:
                    await asyncio.sleep(0.001 * (number % 7))
                    step.cancel()
                await asyncio.wait([step])
                await session.close()
                await session.close()
                with pytest.raises(InvalidInput, match="the session is closed"):
                    await session.logits([9])

        watched(come_and_go())
        assert "AllocationFailed" not in server.log
    swarm.stop(server)


def test_waiting_for_servers_is_bounded(swarm: Swarm, model: str) -> None:
    server = swarm.serve(model, "0:4")
    with swarm.client(model, route_timeout=3) as client:
        until_served(client)
        swarm.stop(server)

        async def hopeless() -> list[Any]:
            steps = (client.model.open_session(16).logits([5]) for _ in range(8))
            return await asyncio.gather(*steps, return_exceptions=True)

        problems = watched(hopeless())
        assert [type(problem) for problem in problems] == [Unavailable] * 8


def test_a_hanging_server_is_given_up_by_whoever_cancels(swarm: Swarm, model: str) -> None:
    server = swarm.serve(model, "0:4")
    with swarm.client(model, route_timeout=START_SECONDS) as client:
        until_served(client)

        async def impatient() -> None:
            session = client.model.open_session(16)
            await session.logits([5])
            server.freeze()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(session.logits([6]), 0.5)
            await session.close()

        watched(impatient())
    swarm.stop(server)


def test_a_text_goes_back_on_servers_that_know_how(swarm: Swarm, model: str) -> None:
    servers = [swarm.serve(model, blocks) for blocks in ("0:2", "2:4")]
    text = plain_transformers(swarm.models / model, prompt=20, new=12)
    with swarm.client(model) as client:
        until_served(client)

        async def astray() -> list[int]:
            session = client.model.open_session(200)
            await session.logits([*text.prompt, *text.tokens[:3], 7, 7, 7])
            await session.go_back(20)
            made: list[int] = []
            token = text.tokens[0]
            while len(made) < 11:
                token = int((await session.logits([token])).argmax())
                made.append(token)
            assert session.position == 31
            with pytest.raises(InvalidInput, match="cannot go back to 32"):
                await session.go_back(32)
            await session.close()
            return made

        assert watched(astray()) == text.tokens[1:]
    swarm.stop(*servers)


class Likeliest:
    """Chooses the likeliest token."""

    @classmethod
    def choose_all(cls, choosers: Sequence["Likeliest"], logits: torch.Tensor) -> list[int | Exception]:
        return [int(row.argmax()) for row in logits]


@pytest.mark.parametrize("scheduler", ["stock", "batched"])
def test_guesses_save_passes_and_change_no_token(swarm: Swarm, model: str, scheduler: str) -> None:
    """Every third guess is wrong, and each pass through the swarm makes as many tokens as it can."""
    servers = [swarm.serve(model, blocks, CALYX_SCHEDULER=scheduler) for blocks in ("0:2", "2:4")]
    text = plain_transformers(swarm.models / model, prompt=20, new=40)
    with swarm.client(model) as client:
        until_served(client)

        async def guessing() -> tuple[list[int], int]:
            session = client.model.open_session(100)
            made = await session.next_tokens(text.prompt, Likeliest(), text.tokens[:5])
            assert len(made) == 1, "before the first answer nobody knows whether servers can go back"
            passes = 1
            while len(made) < len(text.tokens):
                guesses = list(text.tokens[len(made) : len(made) + 4])
                if passes % 3 == 0:
                    guesses[-1] += 1
                made += await session.next_tokens(made[-1:], Likeliest(), guesses)
                assert session.position == len(text.prompt) + len(made) - 1
                passes += 1
            await session.close()
            return made, passes

        made, passes = watched(guessing())
        assert made[: len(text.tokens)] == text.tokens
        assert passes <= 12, "40 without guesses"
    swarm.stop(*servers)


def test_a_draft_model_saves_passes_and_changes_no_token(swarm: Swarm, model: str) -> None:
    """The draft is the model itself, so all its guesses are right."""
    servers = [swarm.serve(model, blocks) for blocks in ("0:2", "2:4")]
    text = plain_transformers(swarm.models / model, prompt=20, new=40)
    with swarm.client(model, draft=model) as client:
        until_served(client)

        async def guessing() -> tuple[list[int], int]:
            session = client.model.open_session(100)
            made = await session.next_tokens(text.prompt, Likeliest())
            passes = 1
            while len(made) < len(text.tokens):
                guesses = await client.model.guess([*text.prompt, *made], 4)
                made += await session.next_tokens(made[-1:], Likeliest(), guesses)
                passes += 1
            await session.close()
            return made, passes

        made, passes = watched(guessing())
        assert made[: len(text.tokens)] == text.tokens
        assert passes <= 10, "40 without guesses"
    swarm.stop(*servers)
