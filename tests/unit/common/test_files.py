"""A file in the place of another."""

import os
import stat
from pathlib import Path

import pytest

from services.common.errors import Broken
from services.common.files import replace_file
from tests.unit.full_disk import full_disk


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_it_is_for_its_owner_unless_said_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("old")
    path.chmod(0o644)
    replace_file(path, "new")
    assert (path.read_text(), mode(path)) == ("new", 0o600)

    replace_file(path, "for all", mode=0o644)
    assert (path.read_text(), mode(path)) == ("for all", 0o644)
    assert list(tmp_path.iterdir()) == [path]


def test_whoever_had_opened_the_old_one_reads_it_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "peers"
    path.write_text("old")
    with path.open() as reader:
        replace_file(path, "new")

        assert reader.read() == "old"
        assert os.fstat(reader.fileno()).st_nlink == 0


def test_a_place_that_cannot_be_written_is_named_and_nothing_left(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(Broken, match=r"writing .*/folder: Is a directory — check the disk"):
        replace_file(tmp_path / "folder", "new")
    with pytest.raises(Broken, match=r"No such file or directory — do this"):
        replace_file(tmp_path / "missing" / "token", "new", remedy="do this")

    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_disk_that_takes_no_more_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with full_disk(), pytest.raises(Broken, match=f"writing {path}: File too large"):
        replace_file(path, "new")

    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
