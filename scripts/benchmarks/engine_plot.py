"""Runs in the tests' environment: draws what the engine's probe measured.

python -m scripts.benchmarks.engine_plot MEASURED.json PICTURE.svg
"""

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")  # before pyplot looks for a screen

from matplotlib import pyplot

_LABELS = {
    "stock": "one step after another (stock)",
    "batched": "all that wait at once",
    "halves": "the same on two servers",
    "plain": "plain transformers, static batch",
}
_ROLES = ("blocks", "handlers", "libp2p", "client")


def draw(measured: dict[str, Any], target: Path) -> None:
    """Draw tokens a second by streams, and where a token's processor time goes; ``engine_probe.Measured`` as JSON."""
    figure, (speed, cost) = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for way, by_streams in measured["speeds"].items():
        streams = sorted(by_streams, key=int)
        speed.plot(
            [int(count) for count in streams],
            [by_streams[count] for count in streams],
            marker="o",
            label=_LABELS[way],
        )
    speed.set(title="tokens a second, all streams together", xlabel="streams", xscale="log")
    speed.set_xticks([1, 4, 16], ["1", "4", "16"])
    speed.set_ylim(bottom=0)
    speed.legend()
    bottom = [0.0] * len(measured["costs"])
    for role in _ROLES:
        milliseconds = [1000 * by_role.get(role, 0.0) for by_role in measured["costs"].values()]
        cost.bar(list(measured["costs"]), milliseconds, bottom=bottom, label=role)
        bottom = [below + some for below, some in zip(bottom, milliseconds, strict=True)]
    cost.set(title="processor time a token", ylabel="ms")
    cost.legend()
    figure.savefig(target)


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
