"""``calyx status``: what runs, where it is reached, and how much of each model is there."""

import sys
from datetime import UTC, datetime

from scripts.helper.context import Context, command_line
from scripts.helper.engine import Engine
from scripts.helper.overview import ModelState, Overview, fetch_json, survey
from scripts.helper.pools import Pool
from services.common.errors import CalyxError, Unavailable


def run(context: Context, *, as_json: bool) -> int:
    """Show the overview; exit code 1 with one line on standard error when the stack is not whole."""
    engine = Engine.connect(context.environment)
    overview = survey(context.project, engine.containers(context.project), fetch_json)
    if as_json:
        sys.stdout.write(overview.to_json() + "\n")
    elif overview.services:
        sys.stdout.write("\n".join(render(overview, datetime.now(UTC), context.pool)) + "\n")
    problem = why_not_running(overview, context.pool)
    if problem:
        raise problem
    return 0


def is_paused(overview: Overview, pool: Pool | None) -> bool:
    """Return whether this is a pool's node whose server was ended by ``calyx pause``.

    Nothing else leaves it so: the engine starts a server again that ends by itself.
    """
    return pool is not None and any(s.name == "server" and s.state == "exited" for s in overview.services)


def why_not_running(overview: Overview, pool: Pool | None = None) -> CalyxError | None:
    """Return the error that tells what is missing, None when everything runs that shall.

    Args:
        overview: what was seen.
        pool: the pool whose node it is.
    """
    if not overview.services:
        return Unavailable(
            f"{overview.project} does not run", f"start it by {command_line(overview.project, 'up')}"
        )
    bad = [s for s in overview.services if s.state != "running" or s.health not in (None, "healthy")]
    if is_paused(overview, pool):
        bad = [s for s in bad if s.name != "server"]
    if bad:
        names = ", ".join(f"{s.name} is {s.state if s.state != 'running' else s.health}" for s in bad)
        return Unavailable(
            f"{overview.project}: {names}",
            f"{command_line(overview.project, f'logs {bad[0].name}')} shows why",
        )
    return None


def render(overview: Overview, now: datetime, pool: Pool | None = None) -> list[str]:
    """Return the overview as lines for people; the arguments are those of ``why_not_running`` and the time."""
    lines = [f"{'SERVICE':<12}{'STATE':<12}{'HEALTH':<12}SINCE"]
    lines += [
        f"{s.name:<12}{s.state:<12}{s.health or '-':<12}{_since(s.since, now)}" for s in overview.services
    ]
    lines.append("")
    if pool is not None:
        paused = ", paused: ./scripts/calyx resume shares again" if is_paused(overview, pool) else ""
        lines.append(f"pool      {pool.name}, this machine is a {pool.role}{paused}")
    if overview.endpoint:
        lines.append(f"endpoint  {overview.endpoint}")
    if overview.health:
        lines.append(f"health    {overview.health}")
    lines += [f"model     {_model(model)}" for model in overview.models]
    if not overview.models:
        lines.append("model     unknown: the health service does not answer or sees no server")
    return lines


def _model(model: ModelState) -> str:
    servers = f"{model.servers} server{'' if model.servers == 1 else 's'}"
    whole = "" if model.healthy else f", missing {_ranges(model.missing_blocks)}"
    return f"{model.name}: {model.online_blocks} of {model.blocks} blocks on {servers}{whole}"


def _ranges(blocks: list[int]) -> str:
    """Return 0, 1, 2, 7 as ``0-2, 7``."""
    parts: list[list[int]] = []
    for block in blocks:
        if parts and block == parts[-1][1] + 1:
            parts[-1][1] = block
        else:
            parts.append([block, block])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)


def _since(moment: str | None, now: datetime) -> str:
    if moment is None:
        return "-"
    seconds = max(0, int((now - datetime.fromisoformat(moment)).total_seconds()))
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            count = seconds // size
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return f"{seconds} seconds"
