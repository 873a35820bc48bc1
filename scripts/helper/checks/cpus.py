"""Enough CPUs."""

from scripts.helper.checks.check import Check
from scripts.helper.checks.machine import Machine

_LEAST = 2


def check_cpus(machine: Machine) -> Check:
    """Judge the number of CPUs: with one, server and endpoint starve each other."""
    if machine.cpus < _LEAST:
        return Check(
            "CPUs",
            "fail",
            f"{machine.cpus} of at least {_LEAST}",
            "use a machine with more, or give the VM more",
        )
    return Check("CPUs", "ok", str(machine.cpus))
