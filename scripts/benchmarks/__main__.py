"""``./scripts/bench [stack|stream|endpoint|pool|engine|health …]``: print a table, leave figures in artifacts/."""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from scripts.benchmarks import endpoint, engine, health, pool, stack, stream
from scripts.benchmarks.figures import Figure, table
from services.common.errors import CalyxError

_ROOT = Path(__file__).resolve().parents[2]
_BENCHMARKS: dict[str, Callable[[Path, str], list[Figure]]] = {
    "stack": stack.measure,
    "stream": stream.measure,
    "endpoint": endpoint.measure,
    "pool": pool.measure,
    "engine": engine.measure,
    "health": health.measure,
}
_WITHOUT_A_MODEL = ("stack", "stream", "endpoint", "pool")
"""What runs when nothing is named: images carry their model, processes on this machine must be given one."""


def main() -> int:
    """Run what the command line names, all benchmarks that need no model when it names none."""
    parser = argparse.ArgumentParser(prog="./scripts/bench", description=__doc__)
    parser.add_argument(
        "benchmark", nargs="*", choices=[*_BENCHMARKS, []], help="default: stack, stream, endpoint and pool"
    )
    parser.add_argument("--project", default="calyx", help="Compose project name (default: calyx)")
    arguments = parser.parse_args()
    figures: list[Figure] = []
    try:
        for name in arguments.benchmark or _WITHOUT_A_MODEL:
            figures += _BENCHMARKS[name](_ROOT, arguments.project)
    except CalyxError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    sys.stdout.write(table(figures))
    target = _ROOT / "artifacts" / "bench.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps([figure.__dict__ for figure in figures], indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
