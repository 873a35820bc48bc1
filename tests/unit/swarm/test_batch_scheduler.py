"""What runs together, and what a step gets that is slow, wrong or of another kind."""

import torch

from services.swarm.serving.scheduler import Step
from tests.unit.swarm.batch_server import BUDGET, HIDDEN, Server


def test_a_short_prompt_and_tokens_pass_by_a_long_prompt(server: Server) -> None:
    for handle, length in ((0, 60), (100, 10), (200, 10)):
        server.arena.open(handle, 1, length)
    server.submit(0, torch.randn(1, 1, HIDDEN))
    server.finish()
    long = server.submit(0, torch.randn(1, 50, HIDDEN), 1)
    server.scheduler.tick()

    short = server.submit(100, torch.randn(1, 5, HIDDEN))
    token = server.submit(200, torch.randn(1, 1, HIDDEN))

    assert {step for step, _ in server.scheduler.tick()} == {short, token}
    assert set(server.finish()) == {long}


def test_a_prompt_that_comes_new_goes_before_one_that_just_had_its_part(server: Server) -> None:
    for handle, length in ((0, 60), (100, BUDGET)):
        server.arena.open(handle, 1, length)
    server.submit(0, torch.randn(1, 60, HIDDEN))
    server.scheduler.tick()

    short = server.submit(100, torch.randn(1, BUDGET - 1, HIDDEN))

    assert {step for step, _ in server.scheduler.tick()} == {short}


def test_a_long_prompt_comes_to_its_end_though_short_ones_come_with_every_tick(server: Server) -> None:
    server.arena.open(0, 1, 40)
    long = server.submit(0, torch.randn(1, 40, HIDDEN))
    ended: set[Step] = set()
    for number in range(1, 30):
        server.arena.open(100 * number, 1, BUDGET)
        server.submit(100 * number, torch.randn(1, BUDGET - 1, HIDDEN))
        ended |= {step for step, _ in server.scheduler.tick()}
        server.arena.close_session(100 * number)

    assert long in ended


def test_a_step_that_cannot_run_fails_alone(server: Server) -> None:
    for handle in (0, 100, 200):
        server.arena.open(handle, 1, 5)
    hidden = torch.randn(1, 3, HIDDEN)
    good = server.submit(0, hidden)
    wide = server.submit(100, torch.randn(1, 3, HIDDEN + 1))
    many_rows = server.submit(200, torch.randn(2, 3, HIDDEN))

    ended = server.finish()

    torch.testing.assert_close(ended[good], server.run_whole(hidden), rtol=0, atol=1e-4)
    assert isinstance(ended[wide], RuntimeError)
    assert str(ended[many_rows]) == "a session of 1 rows cannot run 2"


def test_steps_that_run_alone_take_their_turn_beside_batches(server: Server) -> None:
    server.arena.open(0, 1, 60)
    server.arena.open(100, 1, 5)
    long = server.submit(0, torch.randn(1, 60, HIDDEN))
    alone = server.submit(100, torch.randn(1, 1, HIDDEN), alone=lambda: torch.ones(1))

    server.scheduler.tick()

    assert server.scheduler.tick() == [(alone, torch.ones(1))]
    assert set(server.finish()) == {long}


def test_sessions_may_use_some_of_the_blocks(server: Server) -> None:
    server.arena.open(0, 1, 8)
    server.arena.open(100, 1, 8)
    hidden = torch.randn(1, 8, HIDDEN)
    middle = server.submit(0, hidden, blocks=range(1, 3))
    whole = server.submit(100, hidden)

    ended = server.finish()

    assert set(ended) == {middle, whole}
    with torch.no_grad():
        (expected,) = server.span._blocks[2](server.span._blocks[1](hidden)[0])
    torch.testing.assert_close(ended[middle], expected, rtol=0, atol=1e-4)


def test_beams_and_batches_work_on_the_same_memory(server: Server) -> None:
    """What one path has written, the other reads: through views of the same arena."""
    server.arena.open(0, 2, 12)
    hidden = torch.randn(2, 12, HIDDEN)
    server.submit(0, hidden[:, :8])
    server.finish()

    last = hidden[:, 8:]
    with torch.inference_mode():
        for number, block in enumerate(server.span._blocks):
            with server.arena.use_cache(2 * number, 2 * number + 1) as (keys, values):
                last = block.step(last, keys, values, 8)

    torch.testing.assert_close(last, server.run_whole(hidden)[:, 8:], rtol=0, atol=1e-4)
