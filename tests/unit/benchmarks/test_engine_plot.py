"""The picture of what the engine's probe measured."""

from pathlib import Path

from scripts.benchmarks.engine_plot import draw


def test_a_picture_names_every_way_and_role(tmp_path: Path) -> None:
    target = tmp_path / "engine.svg"

    draw(
        {
            "speeds": {"stock": {"1": 20.0, "16": 20.0}, "batched": {"1": 30.0, "16": 240.0}},
            "costs": {"stock": {"blocks": 0.02, "client": 0.01}, "batched": {"blocks": 0.004}},
        },
        target,
    )

    picture = target.read_text()
    for text in ("one step after another", "all that wait at once", "blocks", "libp2p", "client"):
        assert text in picture
