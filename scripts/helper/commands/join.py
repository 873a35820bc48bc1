"""``calyx join``: share this machine with the pool that a token names, or with Petals' public swarm."""

import json
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from scripts.helper.compose import Compose
from scripts.helper.context import Context
from scripts.helper.engine import Engine
from scripts.helper.one_off import Surroundings
from scripts.helper.overview import ENDPOINT_PORT, HEALTH_PORT, address
from scripts.helper.pools import OWN_ENDPOINT, PUBLIC, Pool, check_name, default_project
from scripts.helper.ports import SERVER_PORT, wanted_ports
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
from services.common.errors import InvalidInput, Refused
from services.common.settings import PREFIX, PUBLIC_PEERS, ServerSettings, SwarmSettings
from services.common.token import JoinToken

_VPN_IMAGE = "calyx/vpn"
_SERVER_OPTIONS = ("device", "num_blocks", "block_indices", "public_name", "model")
_TOKEN_PLACE = "/token"  # noqa: S105 - a path


@dataclass(frozen=True)
class JoinOptions:
    """What the command line said.

    Attributes:
        token: as it was pasted, and found whole; None enters Petals' public swarm, which asks for none.
        yes: install what is missing without asking.
        timeout: the most seconds to wait for services.
    """

    token: JoinToken | None
    yes: bool
    timeout: float


def node_name() -> str:
    """Return this machine's name in the form that pools take."""
    words = "".join(letter if letter.isalnum() else "-" for letter in socket.gethostname().lower())
    return words.encode("ascii", "ignore").decode()[:63].strip("-") or "node"


def new_pool(wanted: Mapping[str, Any], project: str | None, remembered: Mapping[str, str]) -> Pool:
    """Return the pool that is to be joined, with this machine as a worker of it.

    Args:
        wanted: parsed arguments.
        project: name of the Compose project, if another than usual.
        remembered: settings that were chosen besides the arguments.

    Raises:
        InvalidSetting: an argument is none that a server can take.
    """
    given = {name: str(wanted[name]) for name in _SERVER_OPTIONS if wanted[name] is not None}
    ServerSettings.load(
        **{name: value for name, value in given.items() if name in ServerSettings.model_fields}
    )
    settings = {_variable(name): value for name, value in given.items()}
    if wanted["token"] is None:
        swarm = SwarmSettings.load()
        way = {"CALYX_INITIAL_PEERS": " ".join(swarm.initial_peers) or PUBLIC_PEERS}
        if swarm.announce_host:
            way["CALYX_ANNOUNCE_HOST"] = swarm.announce_host
        named = {"CALYX_PUBLIC_NAME": wanted["name"]} if wanted["name"] else {}
        return Pool(
            PUBLIC, project or default_project(PUBLIC), "public", dict(remembered) | way | named | settings
        )
    name = check_name(wanted["token"].pool)
    node = {"CALYX_NODE_NAME": wanted["name"] or node_name()}
    own = {OWN_ENDPOINT: "1"} if wanted["endpoint"] else {}
    return Pool(name, project or default_project(name), "worker", dict(remembered) | node | own | settings)


def _variable(option: str) -> str:
    return f"{PREFIX}{option.upper()}"


def run(
    context: Context,
    pool: Pool,
    options: JoinOptions,
    prepare: Callable[..., Engine] = prepare,
    start_timer: Callable[[float], Timer] = Timer.starting,
) -> int:
    """Join the pool; a failure leaves no containers, no new volumes, no record and no place in the pool.

    Args:
        context: the surroundings, for this pool.
        pool: see ``new_pool``.
        options: see there.
        prepare: returns the engine; see :func:`scripts.helper.preparation.prepare`.
        start_timer: bounds the waiting by so many seconds.
    """
    if options.token is not None:
        context.steps.step("Token format is correct")
    if pool.name in context.pools.names():
        raise InvalidInput(
            f"this machine is in the pool {pool.name} already",
            f"`./scripts/calyx --pool {pool.name} stop` leaves it",
        )
    ports = wanted_ports(pool)
    engine = prepare(context, yes=options.yes)
    check_machine(context, engine, ports)
    refuse_if_there(context, engine)
    compose = make_compose(context, engine)
    build(context, compose)
    with whole_or_not_at_all(context, engine, compose, undo=lambda: leave(engine, context.project)):
        if options.token is None:
            _approach(context, ports)
        elif not _enter(context, pool, options.token, engine, compose):
            pool = _as_user(context, pool)
            compose = Compose(context.of(pool), gpu=False)
        make_stack(context.of(pool), engine, compose, start_timer(options.timeout)).bring_up()
        context.pools.save(pool)
    _welcome(context, pool, engine)
    boot_unit(context).install()
    return 0


def _approach(context: Context, ports: Mapping[str, int]) -> None:
    context.steps.step("Joining the public swarm")
    context.steps.detail(
        f"Opening TCP port {ports[SERVER_PORT]}: forward it in your router to do without relays"
    )
    context.steps.detail("Connecting to peers of the swarm (this may take a few minutes)...")


def _enter(context: Context, pool: Pool, token: JoinToken, engine: Engine, compose: Compose) -> bool:
    """Take a place in the pool; return whether it is a worker's, which its authority knows."""
    context.steps.step("Joining private network")
    compose.create(["vpn"])  # with the volume that the node's key is kept in
    place = _enrol(engine, pool, token)
    context.steps.detail(f"Using {place['address']} address for {place['role']} {place['node']}")
    context.steps.detail(f"Connecting to {pool.name} @ {place['authority']} (this may take a few minutes)...")
    return place["role"] != "user"


def _as_user(context: Context, pool: Pool) -> Pool:
    """Return the pool without what only servers understand, saying so."""
    servers = {_variable(name): f"--{name.replace('_', '-')}" for name in _SERVER_OPTIONS}
    servers[OWN_ENDPOINT] = "--endpoint"
    if without_meaning := [option for name, option in servers.items() if name in pool.settings]:
        context.steps.detail(f"The token is a user's, so these mean nothing: {' '.join(without_meaning)}")
    kept = {name: value for name, value in pool.settings.items() if name not in servers}
    return replace(pool, server=False, settings=kept)


def _welcome(context: Context, pool: Pool, engine: Engine) -> None:
    if not pool.server:
        context.steps.step(f"You may use {pool.name}; this machine shares no blocks")
    else:
        swarm = "the public swarm" if pool.role == "public" else pool.name
        context.steps.step(f"You are connected to {swarm}")
    containers = engine.containers(context.project)
    context.steps.detail(f"endpoint  {address(containers, ENDPOINT_PORT)}")
    context.steps.detail(f"health    {address(containers, HEALTH_PORT)}")


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
