"""``calyx down``: remove the stack; keys and weights stay unless asked for."""

from scripts.helper.compose import Compose
from scripts.helper.context import Context
from scripts.helper.engine import Engine
from services.common.errors import Refused


def run(context: Context, *, volumes: bool) -> int:
    """Stop and remove the containers, and say what is kept.

    Raises:
        Refused: the volumes hold this machine's place in a pool.
    """
    if volumes and context.pool is not None:
        raise Refused(
            f"the volumes hold this machine's place in the pool {context.pool.name}",
            f"`./scripts/calyx --pool {context.pool.name} stop` leaves it and removes them",
        )
    engine = Engine.connect(context.environment)
    running = engine.containers(context.project)
    kept = engine.volumes(context.project)
    if not running and not (volumes and kept):
        context.steps.step("Nothing runs, nothing was removed")
    else:
        context.steps.step("Removing the stack")
        Compose(context, gpu="nvidia" in engine.runtimes()).down(volumes=volumes)
        context.steps.step(
            f"Removed {len(running)} containers" + (f", {len(kept)} volumes" if volumes else "")
        )
        kept = engine.volumes(context.project)
    if kept:
        context.steps.detail(
            f"kept: volumes {', '.join(kept)} (keys, weights; `down --volumes` removes them)"
        )
    context.steps.detail("kept: the images")
    return 0
