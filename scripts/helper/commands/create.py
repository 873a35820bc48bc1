"""``calyx create``: make this machine the seed of a new pool, and print how others join it."""

from scripts.helper.authority import Authority
from scripts.helper.buildlog import BuildProgress
from scripts.helper.commands.up import greet
from scripts.helper.context import Context
from scripts.helper.engine import Engine
from scripts.helper.pools import Pool, default_project
from scripts.helper.ports import wanted_ports
from scripts.helper.preparation import check_machine, make_compose, prepare
from scripts.helper.stack import Stack, Timer
from services.common.errors import CalyxError, InvalidInput
from services.common.settings import SwarmSettings


def new_pool(name: str, project: str | None, address: str, *, server: bool) -> Pool:
    """Return a pool whose seed this machine shall be.

    Args:
        name: the pool's name.
        project: name of the Compose project, if another than usual.
        address: name or IP address that other machines reach this one at.
        server: also share blocks.
    """
    settings = {"CALYX_POOL_NAME": name, "CALYX_PUBLIC_ADDRESS": address, "CALYX_NODE_NAME": "seed"}
    return Pool(name, project or default_project(name), "seed", settings, server=server)


def run(context: Context, pool: Pool, *, yes: bool, timeout: float) -> int:
    """Make the pool; a failure leaves no containers, no volumes and no record of it.

    Args:
        context: the surroundings.
        pool: see ``new_pool``.
        yes: install what is missing without asking.
        timeout: the most seconds to wait for services and the first answer.
    """
    if pool.name in context.pools.names():
        raise InvalidInput(f"this machine is in a pool {pool.name} already", "choose another name")
    ports = wanted_ports(seed=True)
    engine = prepare(context, yes=yes)
    check_machine(context, engine, ports)
    compose = make_compose(context, engine)
    context.steps.step("Building the images (minutes the first time, seconds later)")
    compose.build(BuildProgress(context.steps).feed)
    context.steps.step(f"Creating the pool {pool.name}")
    try:
        timer = Timer.starting(timeout)
        # Without blocks of its own, the seed's endpoint is of use when others have joined
        unawaited = frozenset() if pool.server else frozenset({"endpoint"})
        Stack(engine, compose, context.project, context.steps, timer, unawaited).bring_up()
        token = Authority(context, engine).ask("token", "create", "--role", "worker")["token"]
        context.pools.save(pool)
    except (CalyxError, KeyboardInterrupt):
        context.steps.step("Removing what was made")
        compose.down(volumes=True)
        raise
    if pool.server:
        greet(context, engine, SwarmSettings.load().model, timer)
    _hand_out(context, engine, pool, token)
    return 0


def _hand_out(context: Context, engine: Engine, pool: Pool, token: str) -> None:
    context.steps.step(f"The pool {pool.name} is there; other machines join it by this command:")
    context.steps.detail(f"./scripts/calyx join {token}")
    volumes = [name for name in engine.volumes(context.project) if name.endswith("_authority")]
    context.steps.detail(
        f"back up the volume {', '.join(volumes)}: it holds the pool's keys, and losing it loses the pool"
    )
