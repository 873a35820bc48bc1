"""The pool's backup: whole or not there, and put back without losing what is there."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from scripts.helper.authority import Authority
from scripts.helper.backup_file import split
from scripts.helper.commands.keeping import put_back, read_backup
from scripts.helper.commands.members import render, render_credits
from scripts.helper.containers import Container
from scripts.helper.context import Context
from scripts.helper.one_off import Surroundings
from scripts.helper.pools import Pool
from scripts.helper.shell import Finished
from services.common.errors import InvalidInput, Refused, Unavailable
from tests.unit.helper.helper_fakes import container

KEYS = json.dumps({"version": 1, "required": True, "keys": []}).encode()


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

    def volumes(self, project: str) -> list[str]:
        return [f"{project}_access"]

    def execute_into(self, _: str, command: list[str], file: BinaryIO) -> Finished:
        assert command[-2:] == ["backup", "-"]
        file.write(self.content)
        return self.done

    def stop(self, identity: str, seconds: int) -> None:
        self.happened.append(f"stopped {identity}")

    def start(self, identity: str) -> None:
        self.happened.append(f"started {identity}")

    def run_once(self, image: str, command: list[str], surroundings: Surroundings) -> Finished:
        self.happened.append(f"{image} {command[3]}")
        self.given = surroundings
        return self.done


SEED = Context(project="calyx-home", pool=Pool("home", "calyx-home", "seed"))


def authority(engine: Any) -> Authority:
    return Authority(SEED, engine)


def written_by_the_authority() -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w|") as archive:
        archive.addfile(tarfile.TarInfo("manifest.json"))
    return target.getvalue()


def names_in(content: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        return archive.getnames()


def test_a_backup_is_whole_and_for_its_owner_alone(tmp_path: Path) -> None:
    engine = FakeEngine(container("authority"))
    target = tmp_path / "home.tar"

    assert authority(engine).backup(target) is None

    assert target.read_bytes() == b"everything"
    assert target.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [target]


def test_the_endpoint_s_keys_are_in_it_too(tmp_path: Path) -> None:
    engine = FakeEngine(container("authority"))
    engine.content = written_by_the_authority()

    authority(engine).backup(tmp_path / "home.tar", KEYS)

    content = (tmp_path / "home.tar").read_bytes()
    assert names_in(content) == ["manifest.json", "endpoint/keys.json"]
    pool, keys = split(content)
    assert names_in(pool) == ["manifest.json"]
    assert keys == KEYS


@pytest.mark.parametrize("content", [written_by_the_authority(), b"nonsense", b"", b"x" * 2000])
def test_a_backup_without_keys_is_the_authority_s_alone(content: bytes) -> None:
    assert split(content) == (content, None)


def test_keys_are_put_back_with_the_pool_and_otherwise_stay(tmp_path: Path) -> None:
    engine = FakeEngine(container("authority"))
    engine.content = written_by_the_authority()
    authority(engine).backup(tmp_path / "home.tar", KEYS)
    engine.done = Finished(0, '{"required": true, "keys": []}\n')

    put_back(SEED, engine, (tmp_path / "home.tar").read_bytes())  # type: ignore[arg-type]

    assert engine.happened[1:] == [
        "calyx/authority restore",
        "started id-authority",
        "calyx/petals:endpoint import",
    ]
    assert engine.given is not None
    assert list(engine.given.volumes) == ["calyx-home_access"]
    assert list(engine.given.files.values()) == [KEYS]

    engine.happened.clear()
    put_back(SEED, engine, written_by_the_authority())  # type: ignore[arg-type]
    assert engine.happened[-1] == "started id-authority"


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
    answering = node | {"address": "10.77.0.5", "endpoint": True, "seen_at": 1_767_268_800}

    assert render([node, answering, node | {"role": "seed"}]) == [
        "NAME   ROLE    ADDRESS    STATE  ENDPOINT  SEEN",
        "attic  worker  -          left   -         never",
        "attic  worker  10.77.0.5  left   yes       2026-01-01 12:00:00 UTC",
        "attic  seed    -          left   yes       never",
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
