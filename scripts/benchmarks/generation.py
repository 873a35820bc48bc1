"""How steadily an answer comes: the gaps between its tokens, also when a server is killed in the middle."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

from scripts.helper.chat import Tally, conversation
from services.common.errors import Unavailable

_PROMPT = "Once upon a time"
TOKENS = 400
"""Long enough that a server can be found and killed, and its place taken, before the answer ends."""


@dataclass(frozen=True)
class Generation:
    """One answer.

    Attributes:
        text: all of it.
        moments: seconds at which its tokens came.
    """

    text: str
    moments: tuple[float, ...]


def longest_gap(moments: Sequence[float]) -> float:
    """Return the longest time between two tokens, in seconds; the wait for the first one is none.

    Raises:
        Unavailable: there are not two tokens.
    """
    gaps = [later - earlier for earlier, later in pairwise(moments)]
    if not gaps:
        raise Unavailable("measuring gaps between tokens: the answer has less than two")
    return max(gaps)


def generate(port: int, model: str, on_token: Callable[[int], None] = lambda _: None) -> Generation:
    """Let the endpoint write ``TOKENS`` tokens, likeliest first.

    Args:
        port: of the endpoint, on the loopback.
        model: hub name.
        on_token: is told how many tokens have come, after each.

    Raises:
        Unavailable: the endpoint refuses, or the answer breaks off.
    """
    tally = Tally()
    moments = []
    with conversation(port, model, max_length=TOKENS) as session:
        # A stop sequence makes the endpoint stream, here until the session is full
        for _ in session.ask(
            _PROMPT, tally, max_new_tokens=1, stop_sequence="never said", repetition_penalty=1.2
        ):
            moments.append(time.monotonic())
            on_token(len(moments))
    return Generation(tally.text, tuple(moments))


def generate_while(port: int, model: str, begun_after: int, happens: Callable[[], None]) -> Generation:
    """Do the same, and something else meanwhile, in another thread.

    Args:
        port: of the endpoint.
        model: hub name.
        begun_after: how many tokens have come when it begins.
        happens: what is done.

    Raises:
        Unavailable: as ``generate``, and when the answer was over before that was done.
        CalyxError: as ``happens``.
    """
    running: list[Future[None]] = []
    over_at: list[int] = []

    with ThreadPoolExecutor(1) as other:

        def on_token(count: int) -> None:
            if count == begun_after:
                running.append(other.submit(happens))
            elif not over_at and running and running[0].done():
                over_at.append(count)

        generation = generate(port, model, on_token)
    for one in running:
        one.result()
    if not over_at:
        raise Unavailable(
            "measuring a failover: the answer was over before the server was gone", "measure again"
        )
    return generation
