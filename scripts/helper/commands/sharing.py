"""``calyx pause`` and ``calyx resume``: take this machine back from a pool without leaving it."""

from scripts.helper.containers import Container
from scripts.helper.context import Context, command_line
from scripts.helper.engine import Engine
from scripts.helper.preparation import make_compose, make_stack
from scripts.helper.stack import Timer
from services.common.errors import Unavailable


def pause(context: Context, *, grace: int) -> int:
    """End the server in order, which frees its memory; the node stays in its pool.

    Args:
        context: the surroundings.
        grace: seconds that running answers are given.
    """
    engine = Engine.connect(context.environment)
    server = _server(context, engine)
    if server.state != "running":
        context.steps.step("Nothing is shared already")
        return 0
    context.steps.step("Announcing that the blocks go, letting running answers end")
    engine.stop(server.identity, seconds=grace)
    context.steps.step("Paused: the server's memory is free, this machine stays in the pool")
    context.steps.detail(f"{command_line(context.project, 'resume')} shares again")
    return 0


def resume(context: Context, *, timeout: float) -> int:
    """Serve again, from weights that are on this machine already."""
    engine = Engine.connect(context.environment)
    if _server(context, engine).ready:
        context.steps.step("The blocks are shared already")
        return 0
    context.steps.step("Serving again")
    timer = Timer.starting(timeout)
    make_stack(context, engine, make_compose(context, engine), timer).bring_up()
    return 0


def _server(context: Context, engine: Engine) -> Container:
    for container in engine.containers(context.project):
        if container.service == "server":
            return container
    raise Unavailable(
        "this node has no server", f"{command_line(context.project, 'status')} shows what it has"
    )
