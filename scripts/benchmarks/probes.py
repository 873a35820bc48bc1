"""Runs what needs the engine's libraries in the tests' environment, which the helper's does not have."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from services.common.errors import Unavailable

_ENVIRONMENT = ".venv-test"
_LOCKS = (
    "scripts/requirements.txt",
    "tests/requirements.txt",
    "images/petals/requirements.txt",
    "images/petals/requirements-nodeps.txt",
)


def prepare(root: Path) -> None:
    """Make the environment and the operators for its CPU if they are not there yet."""
    subprocess.run([root / "scripts" / "venv", _ENVIRONMENT, *_LOCKS], cwd=root, check=True)
    subprocess.run([root / "scripts" / "kernels"], check=True)


def run(
    root: Path,
    module: str,
    *arguments: Path,
    remedy: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Return what a module of this folder prints.

    Args:
        root: the repository.
        module: its name.
        arguments: of its command line.
        remedy: what can be done when it fails.
        environment: variables beside those of this process.

    Raises:
        Unavailable: it failed; with its last line.
    """
    done = subprocess.run(
        [root / _ENVIRONMENT / "bin" / "python", "-m", f"scripts.benchmarks.{module}", *arguments],
        cwd=root,
        env={**os.environ, **(environment or {}), "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no output"]
        raise Unavailable(f"measuring by {module}: {lines[-1]}", remedy)
    return done.stdout
