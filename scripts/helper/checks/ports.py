"""The ports of this machine that the stack publishes."""

from scripts.helper.checks.check import Check
from scripts.helper.checks.machine import Machine


def check_ports(machine: Machine) -> Check:
    """Judge whether each port is free, or held by our own stack."""
    taken = {name: port for name, (port, state) in machine.ports.items() if state == "taken"}
    if taken:
        return Check(
            "ports",
            "fail",
            "; ".join(f"port {port} is taken by another program" for port in taken.values()),
            f"stop it, or choose another: write {' '.join(f'{name}=…' for name in taken)} before the command",
        )
    words = {"free": "free", "ours": "held by this stack"}
    return Check("ports", "ok", ", ".join(f"{port} {words[state]}" for port, state in machine.ports.values()))
