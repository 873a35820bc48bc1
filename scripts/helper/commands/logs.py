"""``calyx logs``: what the services wrote, in the order of time."""

import heapq
import queue
import sys
import threading
from collections.abc import Iterable, Iterator

from scripts.helper.containers import Container
from scripts.helper.context import Context, command_line
from scripts.helper.engine import Engine
from services.common.errors import CalyxError, InvalidInput, Unavailable


def run(context: Context, *, service: str | None, follow: bool, tail: int) -> int:
    """Print the newest lines of one service or of all, and go on with new ones if asked."""
    engine = Engine.connect(context.environment)
    containers = choose(engine.containers(context.project), service, context.project)
    width = max(len(container.service) for container in containers)
    streams = [
        _labelled(
            engine.log_lines(container.identity, tail=tail, follow=follow), container.service.ljust(width)
        )
        for container in containers
    ]
    for _, label, text in as_they_come(streams) if follow else heapq.merge(*streams):
        sys.stdout.write(f"{label} | {text}\n")
        if follow:
            sys.stdout.flush()
    return 0


def choose(containers: list[Container], service: str | None, project: str) -> list[Container]:
    """Return the containers whose logs are wanted.

    Raises:
        InvalidInput: there is no such service.
        Unavailable: nothing was started.
    """
    if not containers:
        raise Unavailable(f"{project} has no containers", f"start it by {command_line(project, 'up')}")
    chosen = [container for container in containers if service in (None, container.service)]
    if not chosen:
        names = ", ".join(sorted(container.service for container in containers))
        raise InvalidInput(f"there is no service {service!r}", f"choose one of {names}")
    return chosen


Line = tuple[str, str, str]
"""Time, label and text; sorts by time."""


def _labelled(lines: Iterable[str], label: str) -> Iterator[Line]:
    for line in lines:
        time, _, text = line.partition(" ")
        yield time, label, text


def as_they_come(streams: Iterable[Iterator[Line]]) -> Iterator[Line]:
    """Yield lines of several endless streams as each gets one; ends when all have ended.

    Raises:
        CalyxError: the first that a stream raised.
    """
    arrived: queue.Queue[Line | CalyxError | None] = queue.Queue()

    def drain(stream: Iterator[Line]) -> None:
        try:
            for line in stream:
                arrived.put(line)
            arrived.put(None)
        except CalyxError as error:
            arrived.put(error)

    threads = [threading.Thread(target=drain, args=(stream,), daemon=True) for stream in streams]
    for thread in threads:
        thread.start()
    running = len(threads)
    while running:
        item = arrived.get()
        if item is None:
            running -= 1
        elif isinstance(item, CalyxError):
            raise item
        else:
            yield item
