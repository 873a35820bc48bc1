"""``calyx stop``: leave a pool. Downloaded weights are kept unless asked."""

from scripts.helper.commands.join import leave
from scripts.helper.commands.sharing import end_server
from scripts.helper.compose import Compose
from scripts.helper.context import Context
from scripts.helper.engine import Engine
from scripts.helper.pools import Pool
from scripts.helper.preparation import boot_unit
from services.common.errors import Refused

_WEIGHTS = "_weights"
_GRACE_SECONDS = 30


def run(context: Context, pool: Pool, *, purge: bool) -> int:
    """Give the place back, then remove containers, network and volumes, and forget the pool.

    Raises:
        Refused: this machine is the pool's seed, and nobody has said that the pool shall end.
    """
    if pool.role == "seed" and not purge:
        raise Refused(
            f"this machine is the seed of {pool.name}: with it the pool ends for everybody, and its keys are lost",
            f"`--pool {pool.name} down` only stops it; `stop --purge` ends it",
        )
    engine = Engine.connect(context.environment)
    compose = Compose(context, gpu="nvidia" in engine.runtimes())
    for container in engine.containers(context.project):
        if container.service == "server" and container.state == "running":
            end_server(context, engine, container, grace=_GRACE_SECONDS)
    if pool.role == "worker":
        context.steps.step(f"Leaving the pool {pool.name}")
        problem = leave(engine, context.project)
        if problem:
            context.steps.detail(f"the pool could not be told, and will notice: {problem}")
    boot_unit(context).remove()
    compose.down(volumes=False)
    volumes = engine.volumes(context.project)
    kept = [] if purge else [name for name in volumes if name.endswith(_WEIGHTS)]
    engine.remove_volumes(set(volumes) - set(kept))
    context.pools.remove(pool.name)
    context.steps.step(f"This machine is no longer in the pool {pool.name}")
    if kept:
        context.steps.detail(f"kept: {', '.join(kept)} (downloaded weights; `stop --purge` removes them)")
    return 0
