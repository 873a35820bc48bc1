"""``calyx status``: what runs, who is reached, and how much of each model is there."""

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

from rich.console import Console
from rich.live import Live
from rich.text import Text

from scripts.helper.context import Context, command_line
from scripts.helper.engine import Engine
from scripts.helper.gpus import read_gpus
from scripts.helper.node import read_node
from scripts.helper.overview import Overview, fetch_json, survey
from scripts.helper.overview_text import render
from scripts.helper.swarm_text import Signs, swarm_lines
from services.common.errors import CalyxError, Unavailable
from services.common.printed import only_printed

_WATCH_SECONDS = 2.0


def run(context: Context, *, as_json: bool, watch: bool) -> int:
    """Show the overview; exit code 1 with one line on standard error when the stack is not whole."""
    engine = Engine.connect(context.environment)
    console = Console(highlight=False)
    if watch:
        show_while_wanted(lambda: overview_text(look(context, engine), console, fitting=True), console)
        return 0
    overview = look(context, engine)
    if as_json:
        sys.stdout.write(overview.to_json() + "\n")
    elif overview.services:
        console.print(overview_text(overview, console, fitting=False), soft_wrap=True)
    problem = why_not_running(overview)
    if problem:
        raise problem
    return 0


def look(context: Context, engine: Engine) -> Overview:
    """Return how the stack is now."""
    overview = survey(context.project, engine.containers(context.project), fetch_json, context.pool)
    node = None
    if context.pool is not None and context.pool.meshed:
        # The service's own line says why, if the sidecar does not answer
        with suppress(CalyxError):
            node = read_node(engine, context.project)
    return replace(overview, node=node, gpus=read_gpus(context.shell))


def show_while_wanted(
    text: Callable[[], Text], console: Console, sleep: Callable[[float], None] = time.sleep
) -> None:
    """Show a text, again every two seconds, until Ctrl-C: in place, or one below the other where that cannot be.

    Args:
        text: is called each time.
        console: shows it.
        sleep: waits that many seconds.
    """
    with suppress(KeyboardInterrupt):
        if not console.is_terminal or console.is_dumb_terminal:
            while True:
                console.print(text(), end="\n\n", soft_wrap=True)
                sleep(_WATCH_SECONDS)
        with Live(console=console, screen=True, auto_refresh=False) as live:
            while True:
                live.update(text(), refresh=True)
                sleep(_WATCH_SECONDS)


def overview_text(overview: Overview, console: Console, *, fitting: bool) -> Text:
    """Return everything; ``fitting`` leaves servers out that would not be on the screen."""
    now = datetime.now(UTC)
    lines = [Text(only_printed(line)) for line in render(overview, now)]
    lines += swarm_lines(
        overview.swarm,
        overview.models,
        now.timestamp(),
        width=console.width,
        height=console.height - len(lines) if fitting else None,
        signs=Signs.of(console.encoding),
    )
    return Text("\n").join(lines)


def why_not_running(overview: Overview) -> CalyxError | None:
    """Return the error that tells what is missing, None when everything runs that shall."""
    if not overview.services:
        return Unavailable(
            f"{overview.project} does not run", f"start it by {command_line(overview.project, 'up')}"
        )
    bad = [s for s in overview.services if s.state != "running" or s.health not in (None, "healthy")]
    if overview.pool is not None and overview.pool.paused:
        bad = [s for s in bad if s.name != "server"]
    if bad:
        names = ", ".join(f"{s.name} is {s.state if s.state != 'running' else s.health}" for s in bad)
        return Unavailable(
            f"{overview.project}: {names}",
            f"{command_line(overview.project, f'logs {bad[0].name}')} shows why",
        )
    return None
