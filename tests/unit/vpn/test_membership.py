"""The node's state folder."""

import stat
from pathlib import Path

import pytest

from services.common.errors import Broken
from services.vpn.membership import RECORD, StateFolder
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
