"""The file of API keys, and the command that keeps it."""

import json
import stat
import threading
from pathlib import Path

import pytest
from pydantic import ValidationError

from services.common.errors import Broken, InvalidInput
from services.endpoint.access.__main__ import run
from services.endpoint.access.keys import ApiKey, KeyFile, KeyRing

NOW = 1_800_000_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


@pytest.fixture
def file(path: Path) -> KeyFile:
    return KeyFile(path)


def create(file: KeyFile, name: str, *options: str) -> str:
    return str(run(["create", name, *options], file, NOW)["key"])


def test_a_key_is_known_by_its_hash_alone(file: KeyFile, path: Path) -> None:
    key = create(file, "phone")

    ring = file.read()
    assert ring is not None
    assert key.startswith("calyx-")
    assert len(key) > 45
    assert key not in path.read_text()
    assert key.removeprefix("calyx-") not in path.read_text()
    found = ring.find(key, NOW)
    assert found is not None
    assert found.name == "phone"
    assert ring.find(key + "x", NOW) is None
    assert ring.find(found.hash, NOW) is None


def test_the_file_is_for_its_owner_alone(file: KeyFile, path: Path) -> None:
    create(file, "phone")

    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_no_two_keys_are_alike(file: KeyFile) -> None:
    assert len({create(file, f"key-{number}") for number in range(20)}) == 20


def test_the_list_says_everything_but_the_key(file: KeyFile) -> None:
    key = create(file, "batch", "--requests-per-minute", "60", "--concurrency", "2", "--expires", "30d")

    listed = run(["list"], file, NOW)

    assert listed == {
        "required": True,
        "keys": [
            {
                "name": "batch",
                "created_at": NOW,
                "expires_at": NOW + 30 * 24 * 3600,
                "requests_per_minute": 60,
                "concurrency": 2,
            }
        ],
    }
    assert key not in json.dumps(listed)


def test_a_key_ends(file: KeyFile) -> None:
    key = create(file, "guest", "--expires", "90s")

    ring = file.read()
    assert ring is not None
    assert ring.find(key, NOW + 89) is not None
    assert ring.find(key, NOW + 90) is None


def test_before_the_first_key_none_is_asked_for(file: KeyFile) -> None:
    assert run(["list"], file, NOW) == {"required": False, "keys": []}
    assert file.read() is None


def test_after_the_last_one_is_revoked_nobody_gets_in(file: KeyFile) -> None:
    create(file, "phone")

    assert run(["revoke", "phone"], file, NOW) == {"required": True, "keys": []}


def test_none_is_asked_for_again(file: KeyFile) -> None:
    create(file, "phone")

    assert run(["off"], file, NOW) == {"required": False, "keys": []}
    create(file, "phone")
    assert run(["list"], file, NOW)["required"] is True


def test_all_that_is_kept_goes_to_another_endpoint(file: KeyFile, tmp_path: Path) -> None:
    key = create(file, "phone", "--expires", "1d", "--concurrency", "2")
    exported = tmp_path / "exported.json"
    exported.write_text(json.dumps(run(["export"], file, NOW)))
    other = KeyFile(tmp_path / "other.json")
    create(other, "older")

    assert [one["name"] for one in run(["import", str(exported)], other, NOW)["keys"]] == ["phone"]

    ring = other.read()
    assert ring == file.read()
    assert ring is not None
    assert ring.find(key, NOW) is not None


def test_what_was_never_made_is_not_exported(file: KeyFile) -> None:
    assert run(["export"], file, NOW) is None


@pytest.mark.parametrize("content", ["{", '{"keys": [{"name": "a"}]}', None])
def test_what_is_no_export_takes_no_key_s_place(file: KeyFile, tmp_path: Path, content: str | None) -> None:
    create(file, "phone")
    before, exported = file.read(), tmp_path / "exported.json"
    if content is not None:
        exported.write_text(content)

    with pytest.raises((Broken, InvalidInput), match=r"exported\.json"):
        run(["import", str(exported)], file, NOW)

    assert file.read() == before


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["create", "phone"], "there is a key phone already"),
        (["create", "two words"], "name: "),
        (["create", ""], "name: "),
        (["create", "x" * 64], "name: "),
        (["create", "a", "--concurrency", "0"], "concurrency: "),
        (["create", "a", "--requests-per-minute=-1"], "requests_per_minute: "),
        (["create", "a", "--expires", "soon"], "--expires: 'soon' is no duration"),
        (["revoke", "laptop"], "there is no key 'laptop' — the keys: phone"),
    ],
)
def test_what_cannot_be_done_changes_nothing(file: KeyFile, words: list[str], problem: str) -> None:
    create(file, "phone")
    before = file.read()

    with pytest.raises(InvalidInput, match=problem):
        run(words, file, NOW)

    assert file.read() == before


BROKEN = [
    "",
    "{",
    "[]",
    "null",
    '{"version": 2}',
    '{"keys": [{"name": "a", "hash": "00", "created_at": 1}]}',
    '{"required": "no"}',
    '{"required": false, "unknown": 1}',
    "\ud800".encode(errors="surrogatepass"),
]


@pytest.mark.parametrize("content", BROKEN)
def test_a_spoilt_file_is_named_and_never_taken_for_an_empty_one(
    file: KeyFile, path: Path, content: str | bytes
) -> None:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())

    with pytest.raises(Broken, match=r"keys\.json"):
        file.read()
    with pytest.raises(Broken, match=r"keys\.json"):
        create(file, "phone")
    run(["off"], file, NOW)
    assert file.read() == KeyRing(required=False)


def test_two_who_make_keys_at_once_lose_none(file: KeyFile, path: Path) -> None:
    def make(number: int) -> None:
        create(KeyFile(path), f"key-{number}")

    threads = [threading.Thread(target=make, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    ring = file.read()
    assert ring is not None
    assert len(ring.keys) == 8


def test_a_record_shows_no_value_in_its_errors() -> None:
    with pytest.raises(ValidationError) as caught:
        ApiKey(name="phone", hash="my secret", created_at=1)

    assert "secret" not in str(caught.value)
