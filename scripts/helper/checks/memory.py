"""Enough memory."""

from scripts.helper.checks.check import Check
from scripts.helper.checks.machine import Machine

_LEAST = 4
# The kernel keeps some of what was bought, so 4 GB of RAM shows as less.
_TOLERANCE = 0.9


def check_memory(machine: Machine) -> Check:
    """Judge the machine's memory."""
    found = machine.memory / 1000**3
    if found < _LEAST * _TOLERANCE:
        return Check(
            "memory",
            "fail",
            f"{found:.1f} of at least {_LEAST} GB",
            "use a machine with more, or give the VM more",
        )
    return Check("memory", "ok", f"{found:.0f} GB")
