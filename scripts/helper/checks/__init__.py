"""What the stack asks of a machine: one requirement a file, each a pure function of what was found."""

from scripts.helper.checks.buildx import check_buildx
from scripts.helper.checks.check import Check
from scripts.helper.checks.compose import check_compose
from scripts.helper.checks.cpus import check_cpus
from scripts.helper.checks.disk import check_disk
from scripts.helper.checks.engine import check_engine
from scripts.helper.checks.gpu import check_gpu
from scripts.helper.checks.machine import EngineFacts, Machine, inspect_machine
from scripts.helper.checks.memory import check_memory
from scripts.helper.checks.mesh import check_mesh
from scripts.helper.checks.ports import check_ports
from scripts.helper.checks.tun import check_tun

CHECKS = (
    check_gpu,
    check_cpus,
    check_memory,
    check_disk,
    check_engine,
    check_compose,
    check_buildx,
    check_tun,
    check_ports,
)
"""In the order in which they are shown."""

__all__ = [
    "CHECKS",
    "Check",
    "EngineFacts",
    "Machine",
    "check_buildx",
    "check_compose",
    "check_cpus",
    "check_disk",
    "check_engine",
    "check_gpu",
    "check_memory",
    "check_mesh",
    "check_ports",
    "check_tun",
    "inspect_machine",
]
