"""One memory for all sessions: what it charges, who gets which place, and what handlers tell it through a pipe."""

import asyncio
import multiprocessing as mp
from multiprocessing.connection import Connection

import pytest
import torch
from hivemind.utils.tensor_descr import TensorDescriptor

from services.swarm.serving.arena import Arena

CPU = torch.device("cpu")
BLOCKS, TOKENS, TOKEN_BYTES = 40, 64, 1000
SECONDS = 60


@pytest.fixture
def arena() -> Arena:
    made = Arena(TOKENS, TOKEN_BYTES, max_alloc_timeout=SECONDS)
    made.lay_out(BLOCKS, kv_heads=2, head_size=4, dtype=torch.float32, device=CPU)
    return made


def descriptors(rows: int, length: int, blocks: int = BLOCKS) -> list[TensorDescriptor]:
    return [TensorDescriptor((rows, 2, length, 4), dtype=torch.float32, device=CPU)] * (2 * blocks)


def _handler(arena: Arena, test: Connection) -> None:
    """Open sessions as told by (rows, length), close the oldest when told None."""

    async def talk() -> None:
        opened = []
        while (told := test.recv()) != "end":
            if told is None:
                await opened.pop(0).__aexit__(None, None, None)
                test.send("closed")
                continue
            session = arena.allocate_cache(*descriptors(*told), timeout=0)
            try:
                test.send(await session.__aenter__())
                opened.append(session)
            except Exception as error:
                test.send(type(error).__name__)

    asyncio.run(talk())


class Handler:
    """A handler's process, since Petals' accounting is asked by others than the runtime alone."""

    def __init__(self, arena: Arena) -> None:
        self._near, far = mp.Pipe()
        self._process = mp.get_context("fork").Process(target=_handler, args=(arena, far))
        self._process.start()

    def ask(self, told: tuple[int, ...] | None) -> tuple[int, ...] | str:
        self._near.send(told)
        assert self._near.poll(SECONDS)
        answer: tuple[int, ...] | str = self._near.recv()
        return answer

    def __enter__(self) -> "Handler":
        return self

    def __exit__(self, *_: object) -> None:
        self._near.send("end")
        self._process.join(SECONDS)
        self._process.kill()


def test_rows_of_a_session_lie_behind_each_other_and_views_show_them(arena: Arena) -> None:
    with Handler(arena) as handler:
        handles = handler.ask((3, 10))
        assert isinstance(handles, tuple)
        with arena.use_cache(*handles[2:4]) as (keys, values):
            keys[1, :, 4] = 7.0
            values[2, :, 9] = 8.0

    assert arena.rows(handles[0]) == [0, 10, 20]
    assert keys.shape == (3, 2, 10, 4)
    assert (arena.keys[1, 14] == 7.0).all()
    assert (arena.values[1, 29] == 8.0).all()


def test_a_session_that_closes_leaves_its_place_at_once_and_others_keep_what_they_wrote(arena: Arena) -> None:
    with Handler(arena) as handler:
        first, second, third = (handler.ask((1, 20)) for _ in range(3))
        with arena.use_cache(second[0]) as (keys,):
            keys[:] = 5.0
        assert handler.ask((1, 20)) == "AllocationFailed"
        handler.ask(None)
        arena.catch_up()
        assert not arena.holds(first[0])
        large = handler.ask((1, 24))

        with arena.use_cache(second[0], large[0]) as (keys, other):
            other[:] = 6.0
            assert (keys == 5.0).all()
        assert arena.rows(third[0]) == [20]
        assert arena.current_size_bytes == TOKEN_BYTES * TOKENS


def test_a_session_is_charged_for_all_blocks_whichever_it_uses(arena: Arena) -> None:
    with Handler(arena) as handler:
        handles = handler.ask((2, 16, 1))
        assert len(handles) == 2
        assert arena.current_size_bytes == 2 * 16 * TOKEN_BYTES
        handler.ask(None)
    assert not arena.in_use


def test_hundreds_of_sessions_come_and_go_before_a_step_looks(arena: Arena) -> None:
    with Handler(arena) as handler:
        for _ in range(300):
            assert isinstance(handler.ask((1, TOKENS)), tuple)
            assert handler.ask(None) == "closed"
        handles = handler.ask((1, TOKENS))
        arena.catch_up()

    assert arena.rows(handles[0]) == [0]


def test_a_handle_that_nobody_was_given_is_refused(arena: Arena) -> None:
    with Handler(arena) as handler:
        handles = handler.ask((1, 4))
        with pytest.raises(KeyError), arena.use_cache(handles[-1] + 1):
            pass
