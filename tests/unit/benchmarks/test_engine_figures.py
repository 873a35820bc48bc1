"""What the engine's probe measured becomes figures, ratios and goals."""

from typing import Any

from scripts.benchmarks.engine import figures
from scripts.benchmarks.figures import Figure

MEASURED: dict[str, Any] = {
    "speeds": {
        "stock": {"1": 20.0, "4": 20.0, "16": 20.0},
        "batched": {"1": 30.0, "4": 80.0, "16": 240.0},
        "plain": {"1": 40.0, "4": 100.0, "16": 480.0},
        "halves": {"16": 180.0},
    },
    "waits": {"gap_p50": 0.05, "gap_p95": 0.06, "first_token": 0.1, "first_token_beside": 0.4},
    "costs": {"stock": {"blocks": 0.02, "client": 0.01}, "batched": {"blocks": 0.004}},
}


def test_ratios_are_those_of_one_run_with_their_goals() -> None:
    ratios = [figure for figure in figures(MEASURED) if figure.unit == "x"]

    assert ratios == [
        Figure("1 streams, batched to stock", 1.5, "x", 1.2),
        Figure("4 streams, batched to stock", 4.0, "x", None),
        Figure("16 streams, batched to stock", 12.0, "x", 10.0),
        Figure("1 streams, batched to plain", 0.75, "x", 0.9),
        Figure("4 streams, batched to plain", 0.8, "x", None),
        Figure("16 streams, batched to plain", 0.5, "x", 0.6),
        Figure("16 streams, two servers to one", 0.75, "x", 0.9),
    ]
    assert [figure.met for figure in ratios] == [True, None, True, False, None, False, False]


def test_waits_are_held_against_the_quiet_case() -> None:
    waits = {figure.name: figure for figure in figures(MEASURED)[-7:-3]}

    assert waits["16 streams, median time per token"].value == 50
    assert waits["16 streams, 95th percentile to median"].met
    assert waits["first token of a short prompt"].value == 100
    assert not waits["the same beside a prompt of 2000 tokens"].met


def test_costs_are_given_by_way_and_role() -> None:
    assert figures(MEASURED)[-3:] == [
        Figure("one after another, processor time a token in blocks", 20.0, "ms"),
        Figure("one after another, processor time a token in client", 10.0, "ms"),
        Figure("all at once, processor time a token in blocks", 4.0, "ms"),
    ]
