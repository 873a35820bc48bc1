"""From knowledge to HTML. Everything is escaped by the template; nothing here makes markup from text."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from services.health.collector import Knowledge

MAX_RANGES = 12
"""Gaps that are spelled out before the rest is counted."""
MIN_REFRESH_SECONDS = 2
TICK = 5
"""Blocks between two numbers of the ruler above a map."""

_environment = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render_page(knowledge: Knowledge, period: float, now: float) -> str:
    """Return the whole page.

    Args:
        knowledge: what the collector knows.
        period: seconds between two looks; the page refreshes itself as often.
        now: the current time in seconds since the epoch.
    """
    snapshot = knowledge.snapshot
    models = snapshot.models if snapshot else ()
    age = knowledge.age(now)
    return _template.render(
        snapshot=snapshot,
        models=models,
        ready=sum(model.healthy for model in models),
        error=knowledge.error,
        age=None if age is None else duration_words(age),
        taken_at=datetime.fromtimestamp(snapshot.taken_at, UTC).isoformat() if snapshot else None,
        refresh_seconds=max(MIN_REFRESH_SECONDS, math.ceil(period)),
    )


def duration_words(seconds: float) -> str:
    """Say ``seconds`` in the largest unit that fits, such as "3 minutes"."""
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {unit}{'s' if count != 1 else ''}"
    return f"{int(seconds)} s"


def range_words(blocks: Sequence[int]) -> str:
    """Say ascending blocks as ranges, such as "0-14, 20", and count the ranges beyond the first few."""
    ranges: list[tuple[int, int]] = []
    for block in blocks:
        if ranges and ranges[-1][1] == block - 1:
            ranges[-1] = (ranges[-1][0], block)
        else:
            ranges.append((block, block))
    shown = ", ".join(
        str(first) if first == last else f"{first}\N{EN DASH}{last}" for first, last in ranges[:MAX_RANGES]
    )
    more = len(ranges) - MAX_RANGES
    return f"{shown} and {more} more gaps" if more > 0 else shown


def ruler(num_blocks: int) -> list[tuple[int, int]]:
    """Return the number and width, in blocks, of each mark above a map."""
    return [(first, min(TICK, num_blocks - first)) for first in range(0, num_blocks, TICK)]


def copies_class(copies: int) -> str:
    """Return the style of a block; the page's legend explains each."""
    return f"copies-{min(copies, 3)}"


def map_class(num_blocks: int) -> str:
    """Return the style of a map, which decides where it starts to scroll instead of shrinking."""
    widest = {"short": 40, "medium": 64, "long": 140}
    return next((name for name, blocks in widest.items() if num_blocks <= blocks), "endless")


_environment.filters.update(ranges=range_words, ruler=ruler, copies_class=copies_class, map_class=map_class)
_template = _environment.get_template("template.html")
