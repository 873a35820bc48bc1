"""buildx, which Compose builds images with."""

from scripts.helper.checks.check import Check
from scripts.helper.checks.machine import Machine
from scripts.helper.toolchain import written


def check_buildx(machine: Machine) -> Check:
    """Judge whether ``docker buildx`` is there."""
    if machine.tools.buildx is None:
        return Check("buildx", "fail", "not found", "./scripts/calyx up installs it")
    return Check("buildx", "ok", written(machine.tools.buildx))
