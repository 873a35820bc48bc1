"""How fast the engine is with many streams at once: batched, one after another as Petals does, and without any swarm.

Runs processes instead of containers, so that nothing but the engine is measured.
"""

import json
from pathlib import Path
from typing import Any

from scripts.benchmarks import probes
from scripts.benchmarks.figures import Figure

_AS_IN_THE_IMAGE = {"GOMP_SPINCOUNT": "8000"}
"""Else threads of servers and client spin for each other's processors."""
_GOALS = {("batched", "stock"): {1: 1.2, 16: 10.0}, ("batched", "plain"): {1: 0.9, 16: 0.6}}
_NAMES = {
    "batched": "all that wait at once",
    "halves": "the same on two servers",
    "stock": "one step after another",
    "plain": "plain transformers, static batch",
}
_COSTS = {"stock": "one after another", "batched": "all at once", "alone": "one stream"}


def measure(root: Path, project: str) -> list[Figure]:
    """Return tokens a second at each number of streams, their ratios, and waits; ``project`` does not matter.

    Leaves what was measured and a picture of it in ``artifacts/engine.json`` and ``artifacts/engine.svg``.

    Raises:
        Unavailable: there is no model to measure with, or a server did not come up.
    """
    probes.prepare(root)
    measured = probes.run(
        root,
        "engine_probe",
        environment=_AS_IN_THE_IMAGE,
        remedy="set CALYX_MODELS_DIR to a folder that holds <owner>/<name> of CALYX_MODEL",
    ).splitlines()[-1]
    kept = root / "artifacts" / "engine.json"
    kept.parent.mkdir(exist_ok=True)
    kept.write_text(measured + "\n")
    probes.run(root, "engine_plot", kept, kept.with_suffix(".svg"), remedy=f"what was measured is in {kept}")
    return figures(json.loads(measured))


def figures(measured: dict[str, Any]) -> list[Figure]:
    """Turn what the probe measured (``engine_probe.Measured``) into figures and ratios."""
    speeds = measured["speeds"]
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
    ((most, halves),) = speeds["halves"].items()
    waits = measured["waits"]
    spread = waits["gap_p95"] / waits["gap_p50"]
    wait = waits["first_token_beside"] / waits["first_token"]
    return [
        *lines,
        Figure(f"{most} streams, two servers to one", halves / speeds["batched"][most], "x", 0.9),
        Figure(f"{most} streams, median time per token", 1000 * waits["gap_p50"], "ms"),
        Figure(f"{most} streams, 95th percentile to median", spread, "times", 1.5),
        Figure("first token of a short prompt", 1000 * waits["first_token"], "ms"),
        Figure("the same beside a prompt of 2000 tokens", wait, "times", 3),
        *(
            Figure(f"{_COSTS[way]}, processor time a token in {role}", 1000 * seconds, "ms")
            for way, by_role in measured["costs"].items()
            for role, seconds in by_role.items()
        ),
    ]
