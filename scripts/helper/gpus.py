"""How much memory of this machine's GPUs is in use, as its driver says."""

from dataclasses import dataclass

from scripts.helper.shell import Shell


@dataclass(frozen=True)
class GpuState:
    """One NVIDIA GPU; memory in bytes, of all programs together.

    ``utilization`` is the part of the last moments in which it computed, None where the driver does not say.
    """

    name: str
    memory_used: int
    memory_total: int
    utilization: float | None = None


def read_gpus(shell: Shell) -> list[GpuState]:
    """Return the machine's GPUs, none where there is no driver."""
    fields = "name,memory.used,memory.total,utilization.gpu"
    query = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader,nounits"]
    answer = shell.run(query, limit=20)
    return parse_gpus(answer.output) if answer.ok else []


def parse_gpus(output: str) -> list[GpuState]:
    """Read what ``nvidia-smi`` prints for that query (name, MiB, MiB, per cent)."""
    found = []
    for line in output.splitlines():
        name, *figures = (part.strip() for part in line.rsplit(",", 3))
        if len(figures) == 3 and all(size.isdigit() for size in figures[:2]):
            used, total = (int(size) * 1024**2 for size in figures[:2])
            busy = int(figures[2]) / 100 if figures[2].isdigit() else None
            found.append(GpuState(name, used, total, busy))
    return found
