"""What the engine's probe measured becomes figures, ratios and goals."""

from scripts.benchmarks.engine import figures
from scripts.benchmarks.figures import Figure


def test_ratios_are_those_of_one_run_with_their_goals() -> None:
    speeds = {
        "stock": {"1": 20.0, "4": 20.0, "16": 20.0},
        "batched": {"1": 30.0, "4": 80.0, "16": 240.0},
        "plain": {"1": 40.0, "4": 100.0, "16": 480.0},
    }

    ratios = [figure for figure in figures(speeds) if figure.unit == "x"]

    assert ratios == [
        Figure("1 streams, batched to stock", 1.5, "x", 1.2),
        Figure("4 streams, batched to stock", 4.0, "x", None),
        Figure("16 streams, batched to stock", 12.0, "x", 10.0),
        Figure("1 streams, batched to plain", 0.75, "x", 0.9),
        Figure("4 streams, batched to plain", 0.8, "x", None),
        Figure("16 streams, batched to plain", 0.5, "x", 0.6),
    ]
    assert [figure.met for figure in ratios] == [True, None, True, False, None, False]
    assert len(figures(speeds)) == 15
