"""What is announced of GPUs, with a library in the place of NVIDIA's."""

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from services.common.server_figures import MAX_GPUS
from services.server.gpus import gpu_reader


class FakeNvml:
    """Two GPUs, the second without sensors; ``broken`` names functions that fail."""

    NVML_TEMPERATURE_GPU = 0

    class NVMLError(Exception):
        """As the library's own."""

    def __init__(self, *broken: str, count: int = 2) -> None:
        self._broken, self._count = set(broken), count

    def _work(self, name: str, handle: int = 0) -> None:
        if name in self._broken or (handle == 1 and name in ("temperature", "power", "utilization")):
            raise self.NVMLError(f"{name}: Not Supported")

    def nvmlInit(self) -> None:
        self._work("init")

    def nvmlDeviceGetCount(self) -> int:
        self._work("count")
        return self._count

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetName(self, handle: int) -> str | bytes:
        return b"NVIDIA L4" if handle else "x" * 100

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:
        self._work("memory")
        return SimpleNamespace(used=3, total=24)

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> Any:
        self._work("utilization", handle)
        return SimpleNamespace(gpu=50)

    def nvmlDeviceGetTemperature(self, handle: int, sensor: int) -> int:
        self._work("temperature", handle)
        return 61

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:
        self._work("power", handle)
        return 71_500


def test_every_gpu_is_read_with_what_it_has_sensors_for() -> None:
    first, second = gpu_reader(wanted=True, nvml=FakeNvml())()

    assert (first.name, first.memory_used_bytes, first.memory_total_bytes) == ("x" * 60, 3, 24)
    assert (first.utilization, first.temperature_celsius, first.power_watts) == (0.5, 61, 71.5)
    assert (second.name, second.utilization, second.temperature_celsius) == ("NVIDIA L4", None, None)


def test_a_server_on_a_cpu_asks_for_no_driver() -> None:
    assert gpu_reader(wanted=False, nvml=FakeNvml("init"))() == []


@pytest.mark.parametrize("broken", ["init", "count", "memory"])
def test_a_driver_that_does_not_answer_costs_the_figures_alone(
    broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert gpu_reader(wanted=True, nvml=FakeNvml(broken))() == []
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_many_gpus_are_cut() -> None:
    assert len(gpu_reader(wanted=True, nvml=FakeNvml(count=100))()) == MAX_GPUS
