import socket
from collections.abc import Callable
from dataclasses import replace

import pytest

from scripts.helper.checks import (
    CHECKS,
    Check,
    EngineFacts,
    Machine,
    check_buildx,
    check_compose,
    check_cpus,
    check_disk,
    check_engine,
    check_gpu,
    check_memory,
    check_ports,
    check_tun,
)
from scripts.helper.checks.machine import inspect_machine, port_state
from scripts.helper.commands.doctor import render
from scripts.helper.gpus import GpuState, parse_gpus
from scripts.helper.toolchain import Toolchain
from tests.unit.helper.helper_fakes import FakeShell

ENGINE = EngineFacts("26.1.5", frozenset({"runc"}), "/var/lib/docker", frozenset())
GOOD = Machine(
    gpus=(GpuState("RTX 4060", 0, 8 * 1024**3),),
    cpus=8,
    memory=16 * 1000**3,
    disk_free=100 * 1000**3,
    disk_path="/var/lib/docker",
    engine=replace(ENGINE, runtimes=frozenset({"runc", "nvidia"})),
    engine_problem="",
    tools=Toolchain(compose=(2, 26), buildx=(0, 13)),
    tun=True,
    ports={"CALYX_ENDPOINT_PORT": (8000, "free"), "CALYX_HEALTH_PORT": (8080, "ours")},
)


def test_a_good_machine_passes_every_check() -> None:
    assert [check(GOOD).verdict for check in CHECKS] == ["ok"] * len(CHECKS)


@pytest.mark.parametrize(
    ("check", "machine", "verdict", "detail", "remedy"),
    [
        (check_gpu, replace(GOOD, gpus=()), "warn", "no NVIDIA GPU", "nvidia-smi"),
        (check_gpu, replace(GOOD, engine=ENGINE), "warn", "cannot hand it over", "container toolkit"),
        (check_cpus, replace(GOOD, cpus=1), "fail", "1 of at least 2", "more"),
        (check_memory, replace(GOOD, memory=3 * 1000**3), "fail", "3.0 of at least 4 GB", "more"),
        (check_disk, replace(GOOD, disk_free=20 * 1000**3), "fail", "of at least 34 GB", "free some"),
        (check_disk, replace(GOOD, gpus=(), disk_free=9 * 1000**3), "fail", "of at least 10 GB", "free some"),
        (
            check_engine,
            replace(GOOD, engine=None, engine_problem="no Docker engine answers at tcp://x — start it"),
            "fail",
            "no Docker engine answers at tcp://x",
            "start it",
        ),
        (
            check_compose,
            replace(GOOD, tools=Toolchain((2, 19), (0, 13))),
            "fail",
            "2.19, needed is 2.20",
            "up",
        ),
        (check_compose, replace(GOOD, tools=Toolchain(None, None)), "fail", "none, needed is 2.20", "up"),
        (check_buildx, replace(GOOD, tools=Toolchain((2, 26), None)), "fail", "not found", "up"),
        (check_tun, replace(GOOD, tun=False), "fail", "/dev/net/tun is missing", "modprobe tun"),
        (
            check_ports,
            replace(GOOD, ports={"CALYX_ENDPOINT_PORT": (8000, "taken")}),
            "fail",
            "port 8000 is taken",
            "CALYX_ENDPOINT_PORT=…",
        ),
    ],
)
def test_what_is_missing_is_said_with_what_to_do(
    check: Callable[[Machine], Check], machine: Machine, verdict: str, detail: str, remedy: str
) -> None:
    found = check(machine)
    assert found.verdict == verdict
    assert detail in found.detail
    assert found.remedy is not None
    assert remedy in found.remedy


@pytest.mark.parametrize(
    ("check", "machine"),
    [
        (check_cpus, replace(GOOD, cpus=2)),
        (check_memory, replace(GOOD, memory=int(3.8 * 1000**3))),  # 4 GB less what the kernel keeps
        (check_disk, replace(GOOD, gpus=(), disk_free=10 * 1000**3)),
        (check_gpu, replace(GOOD, engine=None)),
    ],
)
def test_the_least_that_is_enough(check: Callable[[Machine], Check], machine: Machine) -> None:
    assert check(machine).verdict == "ok"


def test_gpus_as_nvidia_smi_lists_them() -> None:
    printed = "NVIDIA H100, 80GB, 512, 81559, 37\nRTX 4060, 0, 8188, [N/A]\n\nno devices\n"
    assert parse_gpus(printed) == [
        GpuState("NVIDIA H100, 80GB", 512 * 1024**2, 81559 * 1024**2, 0.37),
        GpuState("RTX 4060", 0, 8188 * 1024**2),
    ]


def test_who_has_a_port() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        assert port_state(port, frozenset()) == "taken"
        assert port_state(port, frozenset({port})) == "ours"
    assert port_state(port, frozenset()) == "free"


def test_this_machine_can_be_looked_at_without_engine_and_gpu() -> None:
    machine = inspect_machine(FakeShell(), None, "no Docker engine answers", {"CALYX_ENDPOINT_PORT": 1})
    assert machine.gpus == ()
    assert machine.cpus >= 1
    assert machine.memory > 10**8
    assert machine.disk_free > 0
    assert machine.tools == Toolchain(None, None)


def test_remedies_stand_below_what_they_mend() -> None:
    lines = render([Check("CPUs", "ok", "8"), Check("memory", "fail", "1 of 4 GB", "use more")])
    assert lines == ["ok    CPUs    8", "FAIL  memory  1 of 4 GB", "              → use more"]
