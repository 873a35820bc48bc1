"""The pool's backup: whole or not there, and put back without losing what is there."""

from pathlib import Path
from typing import Any, BinaryIO

import pytest

from scripts.helper.authority import Authority
from scripts.helper.commands.keeping import read_backup
from scripts.helper.commands.members import render, render_credits
from scripts.helper.containers import Container
from scripts.helper.context import Context
from scripts.helper.one_off import Surroundings
from scripts.helper.pools import Pool
from scripts.helper.shell import Finished
from services.common.errors import InvalidInput, Refused, Unavailable
from tests.unit.helper.helper_fakes import container


class FakeEngine:
    """An engine whose authority writes what the test prepared."""

    def __init__(self, *containers: Container) -> None:
        self.found = list(containers)
        self.done = Finished(0, "")
        self.content = b"everything"
        self.happened: list[str] = []
        self.given: Surroundings | None = None

    def containers(self, _: str) -> list[Container]:
        return self.found

    def execute_into(self, _: str, command: list[str], file: BinaryIO) -> Finished:
        assert command[-2:] == ["backup", "-"]
        file.write(self.content)
        return self.done

    def stop(self, identity: str, seconds: int) -> None:
        self.happened.append(f"stopped {identity}")

    def start(self, identity: str) -> None:
        self.happened.append(f"started {identity}")

    def run_once(self, image: str, command: list[str], surroundings: Surroundings) -> Finished:
        self.happened.append(f"{image} {command[-3]}")
        self.given = surroundings
        return self.done


def authority(engine: Any) -> Authority:
    return Authority(Context(project="calyx-home", pool=Pool("home", "calyx-home", "seed")), engine)


def test_a_backup_is_whole_and_for_its_owner_alone(tmp_path: Path) -> None:
    engine = FakeEngine(container("authority"))
    target = tmp_path / "home.tar"

    assert authority(engine).backup(target) is None

    assert target.read_bytes() == b"everything"
    assert target.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [target]


def test_what_a_backup_lacks_is_said(tmp_path: Path) -> None:
    engine = FakeEngine(container("authority"))
    engine.done = Finished(0, "authority: save the PostgreSQL database by pg_dump\n")

    assert "pg_dump" in str(authority(engine).backup(tmp_path / "home.tar"))


def test_a_backup_that_fails_leaves_no_file(tmp_path: Path) -> None:
    engine = FakeEngine(container("authority"))
    engine.done = Finished(1, "authority: the disk is full")

    with pytest.raises(Refused, match="the disk is full"):
        authority(engine).backup(tmp_path / "home.tar")
    assert list(tmp_path.iterdir()) == []


def test_a_backup_takes_no_other_file_s_place(tmp_path: Path) -> None:
    (tmp_path / "home.tar").write_text("older")

    with pytest.raises(InvalidInput, match="is there already"):
        authority(FakeEngine(container("authority"))).backup(tmp_path / "home.tar")


def test_an_authority_that_does_not_run_has_no_backup(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="does not run"):
        authority(FakeEngine(container("authority", "exited"))).backup(tmp_path / "home.tar")


def test_only_the_seed_has_an_authority() -> None:
    worker = Context(project="calyx-home", pool=Pool("home", "calyx-home", "worker"))

    with pytest.raises(Refused, match="only the pool's seed"):
        Authority(worker, FakeEngine())  # type: ignore[arg-type]


def test_the_authority_is_stopped_while_its_keys_are_put_back() -> None:
    engine = FakeEngine(container("authority"))

    authority(engine).restore(b"everything")

    assert engine.happened == ["stopped id-authority", "calyx/authority restore", "started id-authority"]
    assert engine.given is not None
    assert list(engine.given.volumes) == ["calyx-home_authority"]
    assert list(engine.given.files.values()) == [b"everything"]


def test_a_damaged_backup_leaves_the_authority_running() -> None:
    engine = FakeEngine(container("authority"))
    engine.done = Finished(1, "authority: restoring: this is no backup of an authority — take another file")

    with pytest.raises(Refused, match="this is no backup"):
        authority(engine).restore(b"nonsense")
    assert engine.happened[-1] == "started id-authority"


def test_a_backup_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="No such file"):
        read_backup(tmp_path / "home.tar")


def test_nodes_for_people() -> None:
    node = {"name": "attic", "role": "worker", "address": None, "state": "left", "seen_at": 0}

    assert render([node, node | {"address": "10.77.0.5", "seen_at": 1_767_268_800}]) == [
        "NAME   ROLE    ADDRESS    STATE  SEEN",
        "attic  worker  -          left   never",
        "attic  worker  10.77.0.5  left   2026-01-01 12:00:00 UTC",
    ]


def test_credits_are_told_in_hours_and_by_the_names_of_nodes() -> None:
    shared = {"public_name": None, "block_seconds": 5_400_000, "tokens": 1234, "token_blocks": 18510}
    lines = render_credits(
        [{"name": "attic", **shared}, {"name": "cellar", **shared, "public_name": "shelf"}]
    )

    assert lines == [
        "NAME    PUBLIC NAME  BLOCK-HOURS  TOKENS  TOKENS x BLOCKS",
        "attic   -            1,500.0      1,234   18,510",
        "cellar  shelf        1,500.0      1,234   18,510",
    ]
