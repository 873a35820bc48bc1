"""The swarm as lines for a terminal: a bar of blocks for each model, below it a bar for each of its servers.

What is told by a colour is told by a sign too, for terminals and people that see none.
"""

import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from scripts.helper.overview_text import ranges, span_words
from scripts.helper.swarm import DepartedState, ModelState, ServerState, SwarmState
from services.common.printed import printed

_INDENT, _NARROW_INDENT = 10, 2
_BESIDE = 40
"""Columns right of the bars in which servers are named; a narrow terminal names them below."""
_NOTE = 18
"""Columns right of the bar of a model, where it may say how many blocks a cell stands for."""
_NARROW = 80
_MIN_CELLS = 8
_NAME = 16
_DEPARTED_SHOWN = 5
_MOST_SERVERS = 64
_OTHER_LINES = 4
_GIB = 1024**3


@dataclass(frozen=True)
class Signs:
    """What the lines are drawn with.

    Attributes:
        copies: for no copy of a block, one, and several.
        held: a block that a server holds.
        states: for each state of a server.
        cut: stands for the begin of a long id.
    """

    copies: tuple[str, str, str]
    held: str
    states: Mapping[str, str]
    cut: str

    @classmethod
    def of(cls, encoding: str) -> "Signs":
        """Return those that a terminal of this encoding can show."""
        return UNICODE if encoding.lower().replace("-", "").startswith("utf") else ASCII


UNICODE = Signs(
    ("·", "▒", "█"),
    "━",
    {"online": "●", "joining": "◐", "unreachable": "✖", "paused": "‖", "offline": "○", "lost": "✖"},
    "…",
)
ASCII = Signs(
    (".", "-", "#"),
    "=",
    {"online": "*", "joining": "~", "unreachable": "!", "paused": "|", "offline": "o", "lost": "!"},
    "..",
)
_COPIES_STYLES = ("bold red", "yellow", "green")
_STATE_STYLES = {"online": "green", "joining": "yellow", "unreachable": "bold red", "lost": "red"}
_LEGEND_STATES = ("online", "joining", "unreachable", "paused", "offline")
_WAYS = {"offline": "left", "lost": "vanished", "paused": "was paused"}


def swarm_lines(
    swarm: SwarmState | None,
    models: Sequence[ModelState],
    now: float,
    *,
    width: int,
    height: int | None = None,
    signs: Signs = UNICODE,
) -> list[Text]:
    """Return the lines.

    Args:
        swarm: None while the health service does not answer.
        models: that are announced.
        now: seconds since the epoch.
        width: columns of the terminal.
        height: lines that should do, by showing fewer servers.
        signs: what to draw with.
    """
    if swarm is None:
        return [Text("model     unknown: the health service does not answer")]
    lines = [Text(f"swarm     {_age(swarm)}", "bold red" if swarm.error else "")]
    most = _MOST_SERVERS if height is None else _fitting(len(models), height - _DEPARTED_SHOWN)
    lines += [line for model in models for line in _model(model, width, signs, most)]
    if models:
        lines += _legend(width, signs)
    elif swarm.age_seconds is not None:
        lines.append(Text("model     none is announced in this swarm"))
    lines += [_departed(one, now, signs) for one in swarm.departed[:_DEPARTED_SHOWN]]
    return lines


def _fitting(models: int, height: int) -> int:
    """Return how many servers of each model fit; a model takes three lines besides, a server two."""
    free = height - _OTHER_LINES - 3 * models
    return max(1, min(_MOST_SERVERS, free // (2 * max(1, models))))


def _age(swarm: SwarmState) -> str:
    if swarm.age_seconds is None:
        return f"was not seen yet: {swarm.error or 'the health service has just started'}"
    age = span_words(swarm.age_seconds)
    return f"does not answer, what follows is {age} old: {swarm.error}" if swarm.error else f"seen {age} ago"


def _model(model: ModelState, width: int, signs: Signs, most: int) -> Iterator[Text]:
    servers = f"{model.servers} server{'' if model.servers == 1 else 's'}"
    whole = "" if model.healthy else f", missing {ranges(model.missing_blocks)}"
    yield Text(f"model     {model.name}: {model.online_blocks} of {model.blocks} blocks on {servers}{whole}")
    drawing = _Drawing(model.blocks, width, signs)
    yield drawing.blocks(model.copies)
    for server in model.holders[:most]:
        yield from drawing.server(server)
    if len(model.holders) > most:
        yield Text(f"{drawing.indent}and {len(model.holders) - most} more servers")


class _Drawing:
    """Draws one model.

    Args:
        blocks: of the model; where they are more than fit, a cell stands for several.
        width: columns of the terminal.
        signs: what to draw with.
    """

    def __init__(self, blocks: int, width: int, signs: Signs) -> None:
        self._width, self._signs = width, signs
        self._beside = width >= _NARROW
        self.indent = " " * (_INDENT if self._beside else _NARROW_INDENT)
        room = max(_MIN_CELLS, width - len(self.indent) - (_BESIDE if self._beside else _NOTE))
        self._each = max(1, math.ceil(blocks / room))
        self._cells = math.ceil(blocks / self._each)

    def blocks(self, copies: Sequence[int]) -> Text:
        """Draw how many copies of the blocks there are; of the blocks in one cell the rarest counts."""
        line = Text(self.indent)
        for first in range(0, len(copies), self._each):
            number = min(2, *copies[first : first + self._each])
            line.append(self._signs.copies[number], _COPIES_STYLES[number])
        return line.append(f"  {self._each} blocks each" if self._each > 1 else "")

    def server(self, server: ServerState) -> Iterator[Text]:
        """Draw a server below the blocks that it holds, and say who it is and what it does."""
        first, end = server.start_block // self._each, math.ceil(server.end_block / self._each)
        bar = " " * first + self._signs.held * (min(end, self._cells) - first)
        style = _STATE_STYLES.get(server.state, "dim")
        name = server.public_name or self._signs.cut + server.peer_id[-8:]
        if cell_len(name) > _NAME:
            name = set_cell_size(name, _NAME)
        mark = self._signs.states.get(server.state, "?")
        who = f"{mark} {name} {server.state} {server.start_block}-{server.end_block - 1}"
        if self._beside:
            yield Text(self.indent).append(bar.ljust(self._cells), style).append(f"  {who}")
        else:
            yield Text(self.indent).append(bar, style)
            yield Text(f"{self.indent}{who}")
        if facts := ", ".join(_facts(server)):
            yield from map(Text, _wrapped(facts, self.indent + "  ", self._width))


def _wrapped(text: str, margin: str, width: int) -> list[str]:
    return textwrap.wrap(text, max(20, width), initial_indent=margin, subsequent_indent=margin)


def _facts(server: ServerState) -> Iterator[str]:
    figures = server.figures
    if server.tokens_per_second is not None:
        yield f"{server.tokens_per_second:,.1f} tokens/s"
    elif figures is None and server.throughput is not None:
        yield f"announces {server.throughput:,.1f} tokens/s per block"
    if figures is not None and figures.batches_total:
        yield f"batches of {figures.tokens_total / figures.batches_total:,.1f}"
    if figures is not None and figures.queued_steps:
        yield f"{figures.queued_steps:,} steps wait"
    if server.cache_tokens_left is not None:
        yield f"room for {server.cache_tokens_left:,} tokens"
    for gpu in figures.gpus if figures else ():
        busy = "" if gpu.utilization is None else f", {gpu.utilization:.0%} busy"
        used, whole = gpu.memory_used_bytes / _GIB, gpu.memory_total_bytes / _GIB
        yield f"{printed(gpu.name, _NAME * 2)} {used:.1f} of {whole:.1f} GiB{busy}"
    if server.problem:
        yield server.problem


def _legend(width: int, signs: Signs) -> list[Text]:
    none, one, several = signs.copies
    items = [f"{several} several copies", f"{one} one copy", f"{none} none"]
    items += [f"{signs.states[state]} {state}" for state in _LEGEND_STATES]
    # A sign and its word stay together
    text = "  ".join(item.replace(" ", "\N{NO-BREAK SPACE}") for item in items)
    lines = textwrap.wrap(text, max(20, width), initial_indent="signs     ", subsequent_indent=" " * _INDENT)
    return [Text(line.replace("\N{NO-BREAK SPACE}", " "), "dim") for line in lines]


def _departed(one: DepartedState, now: float, signs: Signs) -> Text:
    name = one.public_name or signs.cut + one.peer_id[-8:]
    ago = span_words(max(0.0, now - one.left_at))
    way = _WAYS.get(one.state, one.state)
    mark = signs.states.get(one.state, "?")
    blocks = f"blocks {one.start_block}-{one.end_block - 1} of {one.model}"
    return Text(f"gone      {mark} {name} {way} {ago} ago: {blocks}", "dim")
