"""The facts that checks judge, gathered in one place so that each check is a pure function."""

import os
import shutil
import socket
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from scripts.helper.gpus import GpuState, read_gpus
from scripts.helper.shell import Shell
from scripts.helper.toolchain import Toolchain, read_toolchain

TUN = Path("/dev/net/tun")
_DEFAULT_ROOT = Path("/var/lib/docker")

PortState = Literal["free", "ours", "taken"]


@dataclass(frozen=True)
class EngineFacts:
    """The engine, when it answers.

    Attributes:
        version: such as 26.1.5.
        runtimes: names of its container runtimes.
        root_dir: where it keeps images and volumes.
        our_ports: ports on this machine that our own stack publishes.
    """

    version: str
    runtimes: frozenset[str]
    root_dir: str
    our_ports: frozenset[int]


@dataclass(frozen=True)
class Machine:
    """What was found on this machine; sizes are in bytes.

    Attributes:
        gpus: NVIDIA's.
        cpus: that this process may use.
        memory: of the machine.
        disk_free: where the engine keeps images.
        disk_path: that folder.
        engine: None when none answers.
        engine_problem: why not, in one line.
        tools: plugins of Docker's client.
        tun: whether ``/dev/net/tun`` is there.
        ports: variable that sets a port → the port and who has it.
    """

    gpus: tuple[GpuState, ...]
    cpus: int
    memory: int
    disk_free: int
    disk_path: str
    engine: EngineFacts | None
    engine_problem: str
    tools: Toolchain
    tun: bool
    ports: Mapping[str, tuple[int, PortState]]


def inspect_machine(
    shell: Shell,
    engine: EngineFacts | None,
    engine_problem: str,
    wanted_ports: Mapping[str, int],
    tun: Path = TUN,
) -> Machine:
    """Look at this machine.

    Args:
        shell: asks ``nvidia-smi`` and ``docker``.
        engine: the engine's facts, None when none answers.
        engine_problem: why none answers.
        wanted_ports: variable that sets a port → the port the stack will publish.
        tun: the kernel's device for tunnels.
    """
    ours = engine.our_ports if engine else frozenset()
    path = _existing(Path(engine.root_dir) if engine else _DEFAULT_ROOT)
    return Machine(
        gpus=tuple(read_gpus(shell)),
        cpus=len(os.sched_getaffinity(0)),
        memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        disk_free=shutil.disk_usage(path).free,
        disk_path=str(path),
        engine=engine,
        engine_problem=engine_problem,
        tools=read_toolchain(shell),
        tun=_is_device(tun),
        ports={name: (port, port_state(port, ours)) for name, port in wanted_ports.items()},
    )


def port_state(port: int, ours: frozenset[int]) -> PortState:
    """Tell who has a TCP port of the loopback."""
    if port in ours:
        return "ours"
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        # As the engine binds: ports that merely wait for old connections to end count as free.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
            listener.listen(1)
        except PermissionError:
            return "free"  # a low port, which this user may not take but the engine may
        except OSError:
            return "taken"
    return "free"


def _existing(path: Path) -> Path:
    while not os.access(path, os.F_OK) and path != path.parent:
        path = path.parent
    return path


def _is_device(path: Path) -> bool:
    try:
        return stat.S_ISCHR(path.stat().st_mode)
    except OSError:
        return False
