"""What the health exporter's probe measured becomes figures, a ratio and goals."""

from scripts.benchmarks.health import figures


def test_goals_are_those_of_the_largest_swarm() -> None:
    measured = {
        "look": 2.0,
        "reference": 8.0,
        "update": 3.0,
        "page": 0.5,
        "metrics": 0.1,
        "scrapes": 7,
        "page_bytes": 2_500_000,
        "memory": 450_000_000,
    }

    found = {figure.name: (figure.value, figure.unit, figure.goal) for figure in figures(measured)}

    assert found["the reference's way to ours"] == (4.0, "x", 1)
    assert found["one look at 1000 servers of 20 models"] == (2.0, "s", 5)
    assert found["its metrics, slowest of 7"] == (100.0, "ms", 200)
    assert found["memory of its processes"] == (450.0, "MB", 500)
    assert found["size of the page"] == (2.5, "MB", None)
