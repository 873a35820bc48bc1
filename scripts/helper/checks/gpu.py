"""An NVIDIA GPU that containers can use."""

from scripts.helper.checks.check import Check
from scripts.helper.checks.machine import Machine


def check_gpu(machine: Machine) -> Check:
    """Judge GPU and container runtime; without either the model runs on the CPU, slower."""
    if not machine.gpus:
        return Check(
            "GPU",
            "warn",
            "no NVIDIA GPU was found; the model runs on the CPU",
            "for more speed, use a machine with an NVIDIA GPU and its driver (nvidia-smi must list it)",
        )
    found = ", ".join(f"{gpu.name} {gpu.memory_total / 1024**3:.0f} GiB" for gpu in machine.gpus)
    if machine.engine and "nvidia" not in machine.engine.runtimes:
        return Check(
            "GPU",
            "warn",
            f"{found}, but the engine cannot hand it over; the model runs on the CPU",
            "install the NVIDIA container toolkit, run `nvidia-ctk runtime configure --runtime=docker` and "
            "restart the engine",
        )
    return Check("GPU", "ok", found)
