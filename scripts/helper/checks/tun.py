"""The kernel's TUN device, which the private network is made of."""

from scripts.helper.checks.check import Check
from scripts.helper.checks.machine import TUN, Machine


def check_tun(machine: Machine) -> Check:
    """Judge whether ``/dev/net/tun`` is there."""
    if not machine.tun:
        return Check(
            "private network",
            "fail",
            f"{TUN} is missing",
            "load it: modprobe tun (in a virtual machine or container, its host must allow TUN devices)",
        )
    return Check("private network", "ok", str(TUN))
