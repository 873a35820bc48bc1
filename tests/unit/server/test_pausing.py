"""How long open sessions may go on when a server is told to stop."""

import logging
from pathlib import Path

import pytest

from services.common.errors import Broken
from services.server.pausing import Grace, main


def test_nobody_said_anything(tmp_path: Path) -> None:
    assert Grace(tmp_path / "until").left() == 0


def test_the_grace_runs_from_when_it_was_given(tmp_path: Path) -> None:
    Grace(tmp_path / "until", clock=lambda: 1000.0).give(60)

    left = [Grace(tmp_path / "until", clock=lambda now=now: now).left() for now in (1000.0, 1025.0, 1060.0)]

    assert left == [60, 35, 0]


def test_a_grace_that_was_given_long_ago_is_none(tmp_path: Path) -> None:
    Grace(tmp_path / "until", clock=lambda: 1000.0).give(60)

    assert Grace(tmp_path / "until", clock=lambda: 9000.0).left() == 0


@pytest.mark.parametrize("content", ["", "soon", "\x00\xff"])
def test_a_broken_file_is_no_grace(content: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "until").write_text(content)

    assert Grace(tmp_path / "until", clock=lambda: 1000.0).left() == 0
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Broken, match="writing"):
        Grace(tmp_path / "missing" / "until").give(60)


def test_the_command_gives_what_its_argument_says(tmp_path: Path) -> None:
    assert main(["60"], tmp_path / "until") == 0
    assert 0 < Grace(tmp_path / "until").left() <= 60


def test_the_reason_is_kept_with_the_grace(tmp_path: Path) -> None:
    assert not Grace(tmp_path / "until").paused()
    assert main(["0", "paused"], tmp_path / "until") == 0
    assert Grace(tmp_path / "until").paused(), "also without time for sessions"
    assert main(["60"], tmp_path / "until") == 0
    assert not Grace(tmp_path / "until").paused()


def test_a_pause_that_was_given_up_is_no_reason_later(tmp_path: Path) -> None:
    Grace(tmp_path / "until", clock=lambda: 1000.0).give(60, paused=True)

    assert Grace(tmp_path / "until", clock=lambda: 1070.0).paused()
    assert not Grace(tmp_path / "until", clock=lambda: 9000.0).paused()


@pytest.mark.parametrize(
    "arguments", [[], ["soon"], ["-1"], ["60", "70"], ["60", "paused", "too"], ["paused"]]
)
def test_the_command_wants_a_number(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments, tmp_path / "until") == 1
    assert capsys.readouterr().err == "a whole number of seconds is expected, and perhaps the word paused\n"
    assert list(tmp_path.iterdir()) == []
