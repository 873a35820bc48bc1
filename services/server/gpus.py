"""What NVIDIA's management library (NVML) says of this machine's GPUs."""

import importlib
import logging
from collections.abc import Callable
from typing import Any, Protocol

from services.common.server_figures import MAX_GPUS, GpuFigures

logger = logging.getLogger(__name__)

_NAME_LENGTH = 60


class Nvml(Protocol):
    """The part of the module ``pynvml`` that is used; every function may raise ``NVMLError``."""

    NVMLError: type[Exception]
    NVML_TEMPERATURE_GPU: int

    def nvmlInit(self) -> None:
        """Load the driver's library."""

    def nvmlDeviceGetCount(self) -> int:
        """Return how many GPUs there are."""

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Any:
        """Return a GPU."""

    def nvmlDeviceGetName(self, handle: Any) -> str | bytes:
        """Return a GPU's name."""

    def nvmlDeviceGetMemoryInfo(self, handle: Any) -> Any:
        """Return its memory: ``used`` and ``total`` in bytes."""

    def nvmlDeviceGetUtilizationRates(self, handle: Any) -> Any:
        """Return its utilization: ``gpu`` in percent."""

    def nvmlDeviceGetTemperature(self, handle: Any, sensor: int) -> int:
        """Return degrees Celsius."""

    def nvmlDeviceGetPowerUsage(self, handle: Any) -> int:
        """Return milliwatts."""


def gpu_reader(*, wanted: bool, nvml: Nvml | None = None) -> Callable[[], list[GpuFigures]]:
    """Return a function that reads every GPU now; one that reads none where there are none to read.

    Args:
        wanted: whether this server computes on a GPU.
        nvml: the library; by default the one that is installed.
    """
    if not wanted:
        return list
    library: Any = nvml or importlib.import_module("pynvml")
    try:
        library.nvmlInit()
    except library.NVMLError as error:
        logger.warning("GPUs are not watched", extra={"reason": str(error)})
        return list
    return lambda: _read_all(library)


def _read_all(nvml: Nvml) -> list[GpuFigures]:
    try:
        handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
        return [_read(nvml, handle) for handle in handles[:MAX_GPUS]]
    except (nvml.NVMLError, ValueError) as error:
        # A GPU that fell off the bus shall not keep its server from being announced
        logger.warning("a GPU cannot be read", extra={"reason": str(error)})
        return []


def _read(nvml: Nvml, handle: Any) -> GpuFigures:
    name, memory = nvml.nvmlDeviceGetName(handle), nvml.nvmlDeviceGetMemoryInfo(handle)
    text = name.decode(errors="replace") if isinstance(name, bytes) else name
    return GpuFigures(
        name=text[:_NAME_LENGTH],
        memory_used_bytes=memory.used,
        memory_total_bytes=memory.total,
        utilization=_if_known(nvml, lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100),
        temperature_celsius=_if_known(
            nvml, lambda: float(nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU))
        ),
        power_watts=_if_known(nvml, lambda: nvml.nvmlDeviceGetPowerUsage(handle) / 1000),
    )


def _if_known(nvml: Nvml, read: Callable[[], float]) -> float | None:
    """Some GPUs, and shares of GPUs, have no sensor for one thing or the other."""
    try:
        return read()
    except nvml.NVMLError:
        return None
