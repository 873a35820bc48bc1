"""``calyx join``: share this machine with the pool that a token names."""

import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scripts.helper.compose import Compose
from scripts.helper.context import Context
from scripts.helper.engine import Engine
from scripts.helper.one_off import Surroundings
from scripts.helper.overview import ENDPOINT_PORT, HEALTH_PORT, address
from scripts.helper.pools import Pool, check_name, default_project
from scripts.helper.ports import wanted_ports
from scripts.helper.preparation import (
    build,
    check_machine,
    make_compose,
    make_stack,
    prepare,
    refuse_if_there,
    whole_or_not_at_all,
)
from scripts.helper.stack import Timer
from services.common.errors import InvalidInput, Refused
from services.common.token import JoinToken

_VPN_IMAGE = "calyx/vpn"
_SETTINGS = ("device", "num_blocks", "block_indices", "public_name", "model")
_TOKEN_PLACE = "/token"  # noqa: S105 - a path


@dataclass(frozen=True)
class JoinOptions:
    """What the command line said.

    Attributes:
        token: as it was pasted, and found whole.
        yes: install what is missing without asking.
        timeout: the most seconds to wait for services.
    """

    token: JoinToken
    yes: bool
    timeout: float


def node_name() -> str:
    """Return this machine's name in the form that pools take."""
    words = "".join(letter if letter.isalnum() else "-" for letter in socket.gethostname().lower())
    return words.encode("ascii", "ignore").decode()[:63].strip("-") or "node"


def new_pool(token: JoinToken, project: str | None, wanted: Mapping[str, Any]) -> Pool:
    """Return the pool that a token names, with this machine as a worker.

    Args:
        token: the token.
        project: name of the Compose project, if another than usual.
        wanted: parsed arguments; those that are settings of the server are kept.
    """
    chosen = {f"CALYX_{name.upper()}": str(wanted[name]) for name in _SETTINGS if wanted[name] is not None}
    return Pool(
        check_name(token.pool),
        project or default_project(token.pool),
        "worker",
        {"CALYX_NODE_NAME": wanted["name"] or node_name()} | chosen,
    )


def run(context: Context, pool: Pool, options: JoinOptions) -> int:
    """Join the pool; a failure leaves no containers, no new volumes, no record and no place in the pool."""
    context.steps.step("Token format is correct")
    if pool.name in context.pools.names():
        raise InvalidInput(
            f"this machine is in the pool {pool.name} already", "./scripts/calyx stop leaves it"
        )
    ports = wanted_ports(pool)
    engine = prepare(context, yes=options.yes)
    check_machine(context, engine, ports)
    refuse_if_there(context, engine)
    compose = make_compose(context, engine)
    build(context, compose)
    with whole_or_not_at_all(context, engine, compose, undo=lambda: leave(engine, context.project)):
        _enter(context, pool, options, engine, compose)
    context.steps.step(f"You are connected to {pool.name}")
    containers = engine.containers(context.project)
    context.steps.detail(f"endpoint  {address(containers, ENDPOINT_PORT)}")
    context.steps.detail(f"health    {address(containers, HEALTH_PORT)}")
    return 0


def _enter(context: Context, pool: Pool, options: JoinOptions, engine: Engine, compose: Compose) -> None:
    context.steps.step("Joining private network")
    compose.create()
    place = _enrol(engine, pool, options.token)
    context.steps.detail(f"Using {place['address']} address for worker {place['node']}")
    context.steps.detail(f"Connecting to {pool.name} @ {place['authority']} (this may take a few minutes)...")
    timer = Timer.starting(options.timeout)
    make_stack(context, engine, compose, timer).bring_up()
    context.pools.save(pool)


def _enrol(engine: Engine, pool: Pool, token: JoinToken) -> dict[str, str]:
    """Let the sidecar's image make a key pair and take a place, before anything runs that needs one."""
    done = engine.run_once(
        _VPN_IMAGE,
        ["python3", "-m", "services.vpn.enrolment"],
        Surroundings(
            environment=pool.settings | {"CALYX_VPN_TOKEN_FILE": _TOKEN_PLACE},
            volumes={identity_volume(pool.project): "/vpn"},
            files={_TOKEN_PLACE: token.text().encode()},
        ),
    )
    lines = done.output.strip().splitlines()
    if not done.ok:
        raise Refused(lines[-1] if lines else "joining: the sidecar said nothing")
    place: dict[str, str] = json.loads(lines[-1])
    return place


def leave(engine: Engine, project: str) -> str | None:
    """Give this node's place in the pool back; return why that did not work, None if it did or there was none."""
    if identity_volume(project) not in engine.volumes(project):
        return None
    done = engine.run_once(
        _VPN_IMAGE,
        ["python3", "-m", "services.vpn.leaving"],
        Surroundings(volumes={identity_volume(project): "/vpn"}),
    )
    lines = done.output.strip().splitlines()
    return None if done.ok else (lines[-1] if lines else "the sidecar said nothing")


def identity_volume(project: str) -> str:
    """Return the name of the volume that holds a node's key and place."""
    return f"{project}_vpn-identity"
