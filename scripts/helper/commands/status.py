"""``calyx status``: what runs, who is reached, and how much of each model is there."""

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

from rich.live import Live
from rich.text import Text

from scripts.helper.context import Context, command_line
from scripts.helper.engine import Engine
from scripts.helper.gpus import read_gpus
from scripts.helper.node import read_node
from scripts.helper.overview import Overview, fetch_json, survey
from scripts.helper.overview_text import render
from services.common.errors import CalyxError, Unavailable

_WATCH_SECONDS = 2.0


def run(context: Context, *, as_json: bool, watch: bool) -> int:
    """Show the overview; exit code 1 with one line on standard error when the stack is not whole."""
    engine = Engine.connect(context.environment)
    if watch:
        show_again_and_again(lambda: _text(look(context, engine)), Live(screen=True, auto_refresh=False))
        return 0
    overview = look(context, engine)
    if as_json:
        sys.stdout.write(overview.to_json() + "\n")
    elif overview.services:
        sys.stdout.write(_text(overview) + "\n")
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


def show_again_and_again(
    text: Callable[[], str], live: Live, sleep: Callable[[float], None] = time.sleep
) -> None:
    """Show a text, again every two seconds, until Ctrl-C.

    Args:
        text: is called each time.
        live: shows it.
        sleep: waits that many seconds.
    """
    with suppress(KeyboardInterrupt), live:
        while True:
            live.update(Text(text()), refresh=True)
            sleep(_WATCH_SECONDS)


def _text(overview: Overview) -> str:
    return "\n".join(render(overview, datetime.now(UTC)))


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
