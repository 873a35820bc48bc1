"""``calyx create``: make this machine the seed of a new pool, and print how others join it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from scripts.helper.authority import Authority
from scripts.helper.commands.keeping import put_back, read_backup
from scripts.helper.commands.up import greet
from scripts.helper.context import Context, command_line
from scripts.helper.pools import PUBLIC, Pool, default_project
from scripts.helper.ports import wanted_ports
from scripts.helper.preparation import (
    boot_unit,
    build,
    check_machine,
    make_compose,
    make_stack,
    prepare,
    refuse_if_there,
    whole_or_not_at_all,
)
from scripts.helper.stack import Timer
from services.common.errors import InvalidInput
from services.common.settings import SwarmSettings


def new_pool(
    name: str, project: str | None, address: str, remembered: Mapping[str, str], *, server: bool
) -> Pool:
    """Return a pool whose seed this machine shall be.

    Args:
        name: the pool's name.
        project: name of the Compose project, if another than usual.
        address: name or IP address that other machines reach this one at.
        remembered: settings that were chosen besides the arguments.
        server: also share blocks.

    Raises:
        InvalidInput: the name means something else.
    """
    if name == PUBLIC:
        raise InvalidInput(f"{name} means Petals' public swarm", "choose another name")
    settings = {"CALYX_POOL_NAME": name, "CALYX_PUBLIC_ADDRESS": address, "CALYX_NODE_NAME": "seed"}
    return Pool(name, project or default_project(name), "seed", dict(remembered) | settings, server=server)


@dataclass(frozen=True)
class CreateOptions:
    """What the command line said.

    Attributes:
        yes: install what is missing without asking.
        timeout: the most seconds to wait for services and the first answer.
        restore: a backup of the pool, whose seed this machine becomes.
    """

    yes: bool
    timeout: float
    restore: Path | None = None


def run(context: Context, pool: Pool, options: CreateOptions) -> int:
    """Make the pool ``pool``; a failure leaves no containers, no volumes and no record of it."""
    if pool.name in context.pools.names():
        raise InvalidInput(f"this machine is in a pool {pool.name} already", "choose another name")
    backup = read_backup(options.restore) if options.restore else None
    ports = wanted_ports(pool)
    engine = prepare(context, yes=options.yes)
    check_machine(context, engine, ports)
    refuse_if_there(context, engine)
    compose = make_compose(context, engine)
    build(context, compose)
    context.steps.step(f"Creating the pool {pool.name}")
    timer = Timer.starting(options.timeout)
    with whole_or_not_at_all(context, engine, compose):
        if backup is not None:
            context.steps.step(f"Restoring from {options.restore}")
            compose.create()
            put_back(context, engine, backup)
        make_stack(context, engine, compose, timer).bring_up()
        token = Authority(context, engine).ask("token", "create", "--role", "worker")["token"]
        context.pools.save(pool)
    if pool.answers:
        greet(context, engine, SwarmSettings.load().model, timer)
    _hand_out(context, pool, token)
    boot_unit(context).install()
    return 0


def _hand_out(context: Context, pool: Pool, token: str) -> None:
    context.steps.step(f"The pool {pool.name} is there; other machines join it by this command:")
    context.steps.detail(f"./scripts/calyx join {token}")
    context.steps.detail("back up its keys and members, for losing them loses the pool:")
    context.steps.detail(f"{command_line(context.project, f'backup {pool.name}.tar')}")
