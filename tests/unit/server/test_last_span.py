"""A server holds the blocks again that it held last, if they are still what is wanted."""

from pathlib import Path

import pytest

from services.server.last_span import LastSpan

DEPTH = 30


def last_span(
    folder: Path, model: str = "m/one", revision: str | None = None, depth: int = DEPTH
) -> LastSpan:
    return LastSpan(folder / "server.span.json", model, revision, depth)


def test_at_first_there_is_nothing_to_hold_again(tmp_path: Path) -> None:
    assert last_span(tmp_path).recall(10, exactly=False) is None


@pytest.mark.parametrize("revision", [None, "v2"])
def test_the_same_blocks_are_held_again(revision: str | None, tmp_path: Path) -> None:
    last_span(tmp_path, revision=revision).remember(range(5, 15))

    for exactly in (True, False):
        assert last_span(tmp_path, revision=revision).recall(10, exactly=exactly) == range(5, 15)


def test_the_last_blocks_count(tmp_path: Path) -> None:
    span = last_span(tmp_path)
    span.remember(range(5, 15))
    span.remember(range(20, 30))

    assert span.recall(10, exactly=True) == range(20, 30)


@pytest.mark.parametrize(
    "changed", [{"model": "m/two"}, {"revision": "v2"}, {"depth": 14}], ids=lambda changed: str(*changed)
)
def test_another_model_is_chosen_for_anew(changed: dict[str, object], tmp_path: Path) -> None:
    last_span(tmp_path).remember(range(5, 15))

    assert last_span(tmp_path, **changed).recall(10, exactly=True) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [9, 11])
def test_another_number_that_the_user_wants_is_chosen_for_anew(count: int, tmp_path: Path) -> None:
    last_span(tmp_path).remember(range(5, 15))

    assert last_span(tmp_path).recall(count, exactly=True) is None


@pytest.mark.parametrize(
    ("fitting", "held"), [(9, range(5, 14)), (4, range(5, 9)), (11, range(5, 15)), (12, None), (30, None)]
)
def test_what_fits_into_memory_may_differ_a_little(fitting: int, held: range | None, tmp_path: Path) -> None:
    last_span(tmp_path).remember(range(5, 15))

    assert last_span(tmp_path).recall(fitting, exactly=False) == held


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"model": "m/one", "revision": null, "first": 5', "\x00"],
)
def test_a_broken_file_is_ignored_with_a_warning(
    content: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "server.span.json").write_text(content)

    assert last_span(tmp_path).recall(10, exactly=False) is None
    assert "choosing blocks anew" in caplog.text


@pytest.mark.parametrize(("first", "end"), [(-1, 9), (5, 5), (9, 5), (25, 35)])
def test_blocks_that_no_model_has_are_ignored(first: int, end: int, tmp_path: Path) -> None:
    (tmp_path / "server.span.json").write_text(
        f'{{"model": "m/one", "revision": null, "first": {first}, "end": {end}}}'
    )

    assert last_span(tmp_path).recall(end - first, exactly=True) is None


def test_a_disk_that_takes_no_more_ends_no_server(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    last_span(tmp_path / "missing").remember(range(5, 15))

    assert "other blocks may be chosen" in caplog.text
