"""The node's state folder."""

import resource
import stat
from pathlib import Path

import pytest

from services.common.errors import Broken
from services.vpn.membership import RECORD, StateFolder, replace
from tests.unit.vpn.members import member


def test_a_membership_comes_back_as_it_was(tmp_path: Path) -> None:
    StateFolder(tmp_path).save(member())

    assert StateFolder(tmp_path).load() == member()


def test_a_node_without_a_pool_has_none(tmp_path: Path) -> None:
    assert StateFolder(tmp_path).load() is None


def test_nobody_else_may_read_its_files(tmp_path: Path) -> None:
    StateFolder(tmp_path).save(member())

    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


def test_a_record_that_is_cut_off_is_named(tmp_path: Path) -> None:
    StateFolder(tmp_path).save(member())
    record = tmp_path / RECORD
    record.write_text(record.read_text()[:40])

    with pytest.raises(Broken, match=r"membership\.json.*join it again"):
        StateFolder(tmp_path).load()


def test_a_disk_that_takes_no_more_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, limits[1]))
    try:
        with pytest.raises(Broken, match=f"writing {path}: File too large"):
            replace(path, "new", mode=0o600)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
