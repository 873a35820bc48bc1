"""How a room without a port tells its container's health check how it is.

The room's own process checks what its users mean by "working" and writes the verdict to a file on a tmpfs;
the probe reads that file and nothing else, so it starts in milliseconds and imports no engine. A missing
file is "not checked yet" and an old one is "stopped checking": both are unhealthy.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

DEFAULT_PATH = Path("/run/calyx/heartbeat.json")


class Heartbeat:
    """The latest verdict about one process.

    Args:
        path: where the verdict is kept; its folder must exist and be writable by the process.
        lifetime: seconds after which a verdict no longer counts.
        clock: the current time in seconds since the epoch, shared by writer and reader.
    """

    def __init__(
        self, path: Path = DEFAULT_PATH, lifetime: float = 60.0, clock: Callable[[], float] = time.time
    ) -> None:
        self._path = path
        self._lifetime = lifetime
        self._clock = clock

    def beat(self, healthy: bool, detail: str) -> None:
        """Replace the verdict; a reader sees the old one or the new one, never half of each."""
        new = self._path.with_suffix(".new")
        new.write_text(json.dumps({"healthy": healthy, "detail": detail, "time": self._clock()}))
        os.replace(new, self._path)

    def read(self) -> tuple[bool, str]:
        """Return whether the process is healthy, and one line saying why or why not."""
        try:
            verdict = json.loads(self._path.read_text())
            age = self._clock() - float(verdict["time"])
            if age > self._lifetime:
                return False, f"last checked {age:.0f} s ago, limit {self._lifetime:.0f} s"
            return bool(verdict["healthy"]), str(verdict["detail"])
        except FileNotFoundError:
            return False, "not checked yet"
        except (OSError, ValueError, KeyError, TypeError) as error:
            return False, f"heartbeat {self._path} is unreadable: {error}"


def run_probe(heartbeat: Heartbeat | None = None) -> int:
    """Print the verdict and return the exit code that Docker's health check expects (0 or 1)."""
    healthy, detail = (heartbeat or Heartbeat()).read()
    sys.stdout.write(detail + "\n")
    return 0 if healthy else 1
