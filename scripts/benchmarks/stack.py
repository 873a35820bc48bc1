"""How large the images are, and how long the stack takes: to start, and to follow a change of code."""

import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from scripts.benchmarks.figures import Figure
from services.common.errors import Unavailable

_IMAGES = {"calyx/petals:server": 2500.0, "calyx/vpn": 350.0}
_CHANGED = "services/endpoint/app.py"


def measure(root: Path, project: str) -> list[Figure]:
    """Return image sizes and seconds of start and rebuild; the stack of ``project`` is started anew and stays up.

    Raises:
        Unavailable: a command failed; with its last line.
    """
    calyx = [str(root / "scripts" / "calyx"), "--project", project]
    _seconds([*calyx, "up", "--yes"], root)
    sizes = [Figure(f"image {name}", _megabytes(name), "MB", limit) for name, limit in _IMAGES.items()]
    _seconds([*calyx, "down", "--volumes"], root)
    first_token = _seconds([*calyx, "up", "--yes"], root)
    again = _seconds([*calyx, "up", "--yes"], root)
    return [
        *sizes,
        Figure("up with images built, to the first completion", first_token, "s", 60),
        Figure("up on a running stack", again, "s"),
        Figure("rebuild after a change of code", _rebuild(root), "s", 30),
    ]


def _rebuild(root: Path) -> float:
    """Time a build of a copy of the tree with one line changed, so that the tree itself is left alone."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "calyx"
        ignore = shutil.ignore_patterns(".git", ".venv*", "artifacts", "__pycache__")
        shutil.copytree(root, copy, ignore=ignore, symlinks=True)
        changed = copy / _CHANGED
        changed.write_text(changed.read_text() + f"\n# {time.time_ns()}\n")
        return _seconds(
            ["docker", "compose", "--project-name", "calyx-bench-build", "build", "endpoint"], copy
        )


def _megabytes(image: str) -> float:
    command = ["docker", "image", "inspect", "--format", "{{.Size}}", image]
    return int(_run(command, None).stdout) / 1e6


def _seconds(command: Sequence[str], folder: Path) -> float:
    begin = time.monotonic()
    _run(command, folder)
    return time.monotonic() - begin


def _run(command: Sequence[str], folder: Path | None) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no output"]
        raise Unavailable(f"measuring {' '.join(command)}: {lines[-1]}", "run that command by itself")
    return done
