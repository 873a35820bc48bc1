"""From knowledge to HTML. Everything is escaped by the template; nothing here makes markup from text."""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from services.common.credits import NodeCredits
from services.health.api.reports import contributors, issues
from services.health.attendance import Departed
from services.health.collector import Knowledge
from services.health.page.plot import Plot
from services.health.snapshot import Server, State

MAX_RANGES = 12
"""Gaps that are spelled out before the rest is counted."""
MIN_REFRESH_SECONDS = 2
TICK = 5
"""Blocks between two numbers of the ruler above a map."""
MAX_ROWS = 64
"""Servers of one model that the page draws; JSON and metrics hold more."""
MAX_NAMES = 24
"""Contributors, nodes and servers that left, each."""
MARKS: Mapping[State, str] = {
    "online": "●",
    "joining": "◐",
    "unreachable": "✖",
    "paused": "‖",
    "offline": "○",
}
"""States have a shape and a word each, for colour alone would tell some people nothing."""
LEGEND: tuple[tuple[State, str], ...] = (
    ("online", "server online"),
    ("joining", "joining: loading blocks"),
    ("unreachable", "unreachable: see below"),
    ("paused", "paused by its owner"),
    ("offline", "offline: just left"),
)
_DEPARTURES: Mapping[str, tuple[State, str]] = {
    "offline": ("offline", "left"),
    "lost": ("unreachable", "vanished without a word"),
    "paused": ("paused", "was paused"),
}

_environment = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render_page(
    knowledge: Knowledge,
    period: float,
    now: float,
    plots: Mapping[str, Plot | None] | None = None,
    nodes: Sequence[NodeCredits] = (),
) -> str:
    """Return the whole page.

    Args:
        knowledge: what the collector knows.
        period: seconds between two looks; the page refreshes itself as often.
        now: the current time in seconds since the epoch.
        plots: of models, by their names.
        nodes: what nodes of the pool shared, those that shared most first.
    """
    snapshot = knowledge.snapshot
    models = snapshot.models if snapshot else ()
    age = knowledge.age(now)
    return _template.render(
        snapshot=snapshot,
        models=models,
        ready=sum(model.healthy for model in models),
        online=len(
            {server.peer_id for model in models for server in model.servers if server.state == "online"}
        ),
        plots=plots or {},
        issues=issues(knowledge),
        contributors=dict(list(contributors(snapshot).items())[:MAX_NAMES]) if snapshot else {},
        nodes=nodes[:MAX_NAMES],
        more_nodes=len(nodes[MAX_NAMES:]),
        departed=[_departed(one, now) for one in knowledge.departed[:MAX_NAMES]],
        marks=MARKS,
        legend=LEGEND,
        MAX_ROWS=MAX_ROWS,
        error=knowledge.error,
        age_seconds=None if age is None else round(age),
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


def server_facts(server: Server) -> list[str]:
    """Return what is worth knowing of a server, each in a few words."""
    facts = []
    if server.tokens_per_second is not None:
        facts.append(f"serves {server.tokens_per_second:,.1f} tokens/s")
    if server.throughput is not None:
        facts.append(f"announces {server.throughput:,.1f} tokens/s per block")
    facts += [word for word in (server.dtype, server.quantization) if word and word != "none"]
    if server.adapters:
        facts.append(f"adapters {' '.join(server.adapters)}")
    if server.cache_tokens_left is not None:
        facts.append(f"room for {server.cache_tokens_left:,} tokens")
    if server.using_relay:
        facts.append("by relay")
    for gpu in server.figures.gpus if server.figures else ():
        used, whole = gpu.memory_used_bytes / 2**30, gpu.memory_total_bytes / 2**30
        facts.append(f"{gpu.name} {used:.1f} of {whole:.0f} GiB")
    if server.next_pings:
        facts.append(f"next hop {1000 * min(server.next_pings.values()):,.1f} ms")
    if server.version:
        facts.append(f"version {server.version}")
    return facts


def _departed(one: Departed, now: float) -> dict[str, str]:
    mark, words = _DEPARTURES[one.state]
    return {
        "mark": mark,
        "name": one.public_name or "server",
        "peer_id": one.peer_id,
        "words": words,
        "ago": duration_words(max(0.0, now - one.left_at)),
        "blocks": f"{one.start_block}\N{EN DASH}{one.end_block - 1}",
        "model": one.model,
    }


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


_environment.filters.update(
    ranges=range_words, ruler=ruler, copies_class=copies_class, map_class=map_class, facts=server_facts
)
_template = _environment.get_template("template.html")
