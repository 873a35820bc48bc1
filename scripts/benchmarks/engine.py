"""How fast the engine is with many streams at once: batched, one after another as Petals does, and without any swarm.

Runs processes instead of containers, so that nothing but the engine is measured.
"""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from scripts.benchmarks.figures import Figure
from services.common.errors import Unavailable

_ENVIRONMENT = ".venv-test"
_LOCKS = (
    "scripts/requirements.txt",
    "tests/requirements.txt",
    "images/petals/requirements.txt",
    "images/petals/requirements-nodeps.txt",
)
_GOALS = {("batched", "stock"): {1: 1.2, 16: 10.0}, ("batched", "plain"): {1: 0.9, 16: 0.6}}
_NAMES = {
    "batched": "all that wait at once",
    "stock": "one step after another",
    "plain": "plain transformers, static batch",
}


def measure(root: Path, project: str) -> list[Figure]:
    """Return tokens a second at each number of streams, and their ratios; ``project`` does not matter.

    Raises:
        Unavailable: there is no model to measure with, or a server did not come up.
    """
    subprocess.run([root / "scripts" / "venv", _ENVIRONMENT, *_LOCKS], cwd=root, check=True)
    done = subprocess.run(
        [root / _ENVIRONMENT / "bin" / "python", "-m", "scripts.benchmarks.engine_probe"],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no output"]
        raise Unavailable(
            f"measuring the engine: {lines[-1]}",
            "set CALYX_MODELS_DIR to a folder that holds <owner>/<name> of CALYX_MODEL",
        )
    return figures(json.loads(done.stdout.splitlines()[-1]))


def figures(speeds: dict[str, dict[str, Any]]) -> list[Figure]:
    """Turn the probe's tokens a second, by way and number of streams, into figures and ratios."""
    lines = [
        Figure(f"{streams} streams, {_NAMES[way]}", speed, "tokens/s")
        for way, by_streams in speeds.items()
        for streams, speed in by_streams.items()
    ]
    for (ours, theirs), goals in _GOALS.items():
        for streams, speed in speeds[ours].items():
            ratio = speed / speeds[theirs][streams]
            lines.append(
                Figure(f"{streams} streams, {ours} to {theirs}", ratio, "x", goals.get(int(streams)))
            )
    return lines
