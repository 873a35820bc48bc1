"""``calyx pause`` and ``calyx resume``: take this machine back from a pool without leaving it."""

from dataclasses import replace

from scripts.helper.containers import Container
from scripts.helper.context import Context, command_line
from scripts.helper.engine import Engine
from scripts.helper.pools import Pool
from scripts.helper.preparation import make_compose, make_stack
from scripts.helper.stack import Timer
from services.common.errors import Refused, Unavailable

_ENDED = ("created", "exited", "dead")
_PAUSING = ["python", "-m", "services.server.pausing"]
_END_SECONDS = 15
"""What a server needs to end besides the grace: announcements, steps that run, its processes (see compose.yaml)."""


def end_server(
    context: Context, engine: Engine, server: Container, *, grace: int, paused: bool = False
) -> None:
    """End a server for as long as nobody starts it: the swarm hears of it first, and open sessions go on for a while.

    Args:
        context: the surroundings.
        engine: has the container.
        server: the container.
        grace: the most seconds that open sessions are given; it ends sooner when there is none.
        paused: let the swarm hear that the blocks are meant to come back.
    """
    context.steps.step(f"Announcing that the blocks go, letting open sessions end (at most {grace} s)")
    if server.state == "running":
        told = engine.execute(server.identity, [*_PAUSING, str(grace), *(["paused"] if paused else [])])
        if not told.ok:
            context.steps.detail(
                f"they get a moment only, the server could not be told: {told.output.strip()}"
            )
    engine.stop(server.identity, seconds=grace + _END_SECONDS)


def pause(context: Context, pool: Pool, *, grace: int) -> int:
    """End the server in order, which frees its memory; the node stays in its pool, and paused until ``resume``.

    Args:
        context: the surroundings.
        pool: whose node it is.
        grace: the most seconds that open sessions are given.
    """
    engine = Engine.connect(context.environment)
    server = _server(context, engine)
    context.pools.save(replace(pool, paused=True))
    if server.state in _ENDED:
        context.steps.step("Nothing is shared already")
        return 0
    end_server(context, engine, server, grace=grace, paused=True)
    context.steps.step("Paused: the server's memory is free, this machine stays in the pool")
    context.steps.detail(f"{command_line(context.project, 'resume')} shares again")
    return 0


def resume(context: Context, pool: Pool, *, timeout: float) -> int:
    """Serve again, from weights that are on this machine already.

    Args:
        context: the surroundings.
        pool: whose node it is.
        timeout: the most seconds to wait for the services.
    """
    engine = Engine.connect(context.environment)
    server = _server(context, engine)
    awake = replace(pool, paused=False)
    context = context.of(awake)
    context.pools.save(awake)
    if server.ready:
        context.steps.step("The blocks are shared already")
        return 0
    context.steps.step("Serving again")
    timer = Timer.starting(timeout)
    make_stack(context, engine, make_compose(context, engine), timer).bring_up()
    return 0


def _server(context: Context, engine: Engine) -> Container:
    if context.pool is not None and not context.pool.server:
        raise Refused(
            f"this machine is {context.pool.part} of {context.pool.name} and shares no blocks",
            f"{command_line(context.project, 'status')} shows what it does",
        )
    for container in engine.containers(context.project):
        if container.service == "server":
            return container
    raise Unavailable(
        "this node has no server", f"{command_line(context.project, 'status')} shows what it has"
    )
