"""How much memory of this machine's GPUs is in use, as its driver says."""

from dataclasses import dataclass

from scripts.helper.shell import Shell


@dataclass(frozen=True)
class GpuState:
    """One NVIDIA GPU; memory in bytes, of all programs together."""

    name: str
    memory_used: int
    memory_total: int


def read_gpus(shell: Shell) -> list[GpuState]:
    """Return the machine's GPUs, none where there is no driver."""
    query = ["nvidia-smi", "--query-gpu=name,memory.used,memory.total", "--format=csv,noheader,nounits"]
    answer = shell.run(query, limit=20)
    return parse_gpus(answer.output) if answer.ok else []


def parse_gpus(output: str) -> list[GpuState]:
    """Read what ``nvidia-smi`` prints for that query (name, MiB, MiB)."""
    found = []
    for line in output.splitlines():
        name, *sizes = (part.strip() for part in line.rsplit(",", 2))
        if len(sizes) == 2 and all(size.isdigit() for size in sizes):
            used, total = (int(size) * 1024**2 for size in sizes)
            found.append(GpuState(name, used, total))
    return found
