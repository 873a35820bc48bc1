"""Makes a machine ready for containers, and refuses what could only fail later: before any stack is started."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from scripts.helper.buildlog import BuildProgress
from scripts.helper.checks import Check, Machine, check_ports, check_tun
from scripts.helper.checks.machine import inspect_machine
from scripts.helper.compose import Compose
from scripts.helper.context import Context
from scripts.helper.engine import Engine
from scripts.helper.handover import hand_over
from scripts.helper.install.base_images import BaseImages
from scripts.helper.install.boot import BootUnit
from scripts.helper.install.changes import Changes
from scripts.helper.install.consent import asking
from scripts.helper.install.engine_setup import SYSTEMD, EngineSetup, distribution, is_root
from scripts.helper.ports import engine_facts
from scripts.helper.stack import Stack, Timer
from scripts.helper.toolchain import read_toolchain, written
from services.common.errors import Refused


def prepare(context: Context, *, yes: bool) -> Engine:
    """Return an engine that answers, with the tools and base images that a build needs.

    Args:
        context: the surroundings.
        yes: install what is missing without asking.

    Raises:
        CalyxError: something is missing and cannot be installed, or must not be.
    """
    changes = Changes(context.shell, context.steps, context.state_dir / "install.log")
    consent = asking(yes=yes, stdin=sys.stdin, stdout=sys.stdout)
    engine = EngineSetup(
        connect=lambda: Engine.connect(context.environment),
        consent=consent,
        changes=changes,
        distribution=distribution(),
        root=is_root(),
        systemd=SYSTEMD.exists(),
    ).ensure()
    tools = read_toolchain(context.shell)
    context.steps.step(f"Docker engine {engine.version()} answers")
    context.steps.detail(f"Compose {written(tools.compose)}, buildx {written(tools.buildx)}")
    BaseImages(engine, changes, consent, root=is_root()).ensure()
    return engine


def check_machine(context: Context, engine: Engine, ports: dict[str, int]) -> None:
    """Refuse before anything is started what can only fail later, with a worse message."""
    facts = engine_facts(engine, context.project)
    machine: Machine = inspect_machine(context.shell, facts, "", ports, context.tun)
    if context.pool is None or context.pool.meshed:
        _demand(check_tun(machine))
    _demand(check_ports(machine))


def _demand(check: Check) -> None:
    if check.verdict == "fail":
        raise Refused(f"{check.name}: {check.detail}", check.remedy)


def make_compose(context: Context, engine: Engine, *, monitoring: bool = False) -> Compose:
    """Return Compose with what this machine hands to builds, and with its GPU if the engine offers it.

    Args:
        context: the surroundings.
        engine: offers GPUs or not.
        monitoring: add Prometheus; a stack that has it keeps it, asked or not.
    """
    given = hand_over(context.environment, context.shell)
    for line in given.lines:
        context.steps.detail(f"for the build: {line}")
    gpu = "nvidia" in engine.runtimes()
    if gpu:
        context.steps.detail("the engine offers NVIDIA GPUs: adding compose.gpu.yaml")
    monitoring = monitoring or any(one.service == "prometheus" for one in engine.containers(context.project))
    return Compose(context, gpu=gpu, monitoring=monitoring, environment=given.variables)


def make_stack(context: Context, engine: Engine, compose: Compose, timer: Timer) -> Stack:
    """Return the node's containers; an endpoint whose model others must complete is not waited for, and a paused
    server is not started."""
    pool = context.pool
    unawaited = frozenset({"endpoint"} if pool is not None and not pool.answers else ())
    asleep = frozenset({"server"} if pool is not None and pool.paused else ())
    return Stack(engine, compose, context.project, context.steps, timer, unawaited, asleep)


def boot_unit(context: Context) -> BootUnit:
    """Return what brings the node back after a reboot."""
    return BootUnit(
        context.project,
        (str(context.root / "scripts" / "calyx"), "--project", context.project, "up", "--no-build"),
        Changes(context.shell, context.steps, context.state_dir / "install.log"),
        systemd=SYSTEMD.exists(),
        root=is_root(),
        home=Path.home(),
        state=context.state_dir.parent,
        folder=context.units,
    )


def build(context: Context, compose: Compose) -> None:
    """Build the images, showing which step runs."""
    context.steps.step("Building the images (minutes the first time, seconds later)")
    compose.build(BuildProgress(context.steps).feed)


def refuse_if_there(context: Context, engine: Engine) -> None:
    """Refuse to make a node where another stack is, which a failure would remove.

    Raises:
        Refused: the project has containers.
    """
    if engine.containers(context.project):
        raise Refused(
            f"there is a stack named {context.project} already",
            "choose another by --project NAME, or remove that one by `down`",
        )


@contextmanager
def whole_or_not_at_all(
    context: Context, engine: Engine, compose: Compose, undo: Callable[[], object] = lambda: None
) -> Iterator[None]:
    """Remove what the block made, if it fails: containers, networks, and the volumes that were not there before.

    Args:
        context: names the project.
        engine: lists and removes volumes.
        compose: removes the rest.
        undo: what else is to be done, while the volumes are still there.
    """
    kept = set(engine.volumes(context.project))
    try:
        yield
    except BaseException:
        context.steps.step("Removing what was made")
        undo()
        compose.down(volumes=False)
        engine.remove_volumes(set(engine.volumes(context.project)) - kept)
        raise
