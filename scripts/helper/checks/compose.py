"""Docker Compose as a plugin of Docker's client, new enough for compose.yaml."""

from scripts.helper.checks.check import Check
from scripts.helper.checks.machine import Machine
from scripts.helper.toolchain import MINIMUM_COMPOSE, written


def check_compose(machine: Machine) -> Check:
    """Judge the version of ``docker compose``."""
    found = written(machine.tools.compose)
    if not machine.tools.compose_fits:
        return Check(
            "Compose",
            "fail",
            f"{found}, needed is {written(MINIMUM_COMPOSE)} or newer",
            "./scripts/calyx up installs it",
        )
    return Check("Compose", "ok", found)
