"""A Docker engine that answers."""

from scripts.helper.checks.check import Check
from scripts.helper.checks.machine import Machine


def check_engine(machine: Machine) -> Check:
    """Judge whether an engine answers this user."""
    if machine.engine is None:
        problem, _, remedy = machine.engine_problem.partition(" — ")
        return Check("Docker engine", "fail", problem, remedy or "./scripts/calyx up installs and starts one")
    return Check("Docker engine", "ok", machine.engine.version)
