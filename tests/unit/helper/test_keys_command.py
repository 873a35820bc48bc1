"""``calyx keys``: what the helper runs, where, and what it tells."""

import argparse
import json
import re
import shlex
from typing import Any

import pytest

from scripts.helper.arguments import build_parser
from scripts.helper.commands.keys import Keys, render
from scripts.helper.context import ROOT, Context
from scripts.helper.one_off import Surroundings
from scripts.helper.pools import Pool
from scripts.helper.shell import Finished
from services.common.errors import Refused, Unavailable


class FakeEngine:
    """An engine whose keys answer what the test prepared."""

    def __init__(self, answer: Finished | None = None) -> None:
        self.answer = answer or Finished(0, json.dumps({"required": True, "keys": []}))
        self.ran: list[Any] = []

    def volumes(self, project: str) -> list[str]:
        return [f"{project}_access"] if project != "unknown" else []

    def run_once(self, image: str, command: list[str], surroundings: Surroundings) -> Finished:
        self.ran.append((image, command, surroundings))
        return self.answer


def keys(engine: Any, project: str = "calyx", pool: Pool | None = None) -> Keys:
    return Keys(Context(project=project, pool=pool), engine)


def test_a_container_of_its_own_writes_the_volume_of_the_stack() -> None:
    engine = FakeEngine(Finished(0, 'warning\n{"name": "phone", "key": "calyx-x"}\n'))

    assert keys(engine, "mine").ask("create", "phone") == {"name": "phone", "key": "calyx-x"}

    ((image, command, surroundings),) = engine.ran
    assert image == "calyx/petals:endpoint"
    assert command[-3:] == ["services.endpoint.access", "create", "phone"]
    assert surroundings.volumes == {"mine_access": "/access"}
    assert surroundings.user == "10001"


def test_all_that_is_kept_of_keys_goes_out_and_comes_back() -> None:
    engine = FakeEngine(Finished(0, '{"version": 1, "required": true, "keys": []}\n'))
    exported = keys(engine, "mine").export()
    assert exported is not None

    keys(engine, "other").replace(exported)

    _, command, surroundings = engine.ran[-1]
    (place,) = surroundings.files
    assert command[-2:] == ["import", place]
    assert surroundings.files[place] == exported
    assert surroundings.volumes == {"other_access": "/access"}


def test_where_there_never_was_a_key_there_is_nothing_to_export() -> None:
    assert keys(FakeEngine(Finished(0, "null\n"))).export() is None


def test_why_it_failed_is_told_without_its_prefix() -> None:
    engine = FakeEngine(Finished(1, "keys: there is a key phone already — revoke that one\n"))

    with pytest.raises(Refused, match=r"^there is a key phone already — revoke that one$"):
        keys(engine).ask("create", "phone")


def test_before_the_first_start_there_is_nothing_to_keep_keys_in() -> None:
    with pytest.raises(Unavailable, match=r"unknown was never started here — run \./scripts/calyx --project"):
        keys(FakeEngine(), "unknown")


def test_a_worker_has_no_endpoint_of_its_own() -> None:
    with pytest.raises(Refused, match="the endpoint of the seed of home — make keys on the seed"):
        keys(FakeEngine(), "calyx-home", Pool("home", "calyx-home", "worker"))


def test_a_seed_a_machine_of_the_public_swarm_and_a_worker_that_joined_with_one_have() -> None:
    answering = Pool("home", "calyx-home", "worker", {"CALYX_OWN_ENDPOINT": "1"})
    keys(FakeEngine(), "calyx-home", answering).ask("list")
    for role in ("seed", "public"):
        keys(FakeEngine(), "calyx-home", Pool("home", "calyx-home", role)).ask("list")  # type: ignore[arg-type]


def parsed(*words: str) -> argparse.Namespace:
    return build_parser().parse_args(["keys", *words])


def test_limits_are_optional() -> None:
    bare, full = (
        parsed("create", "a"),
        parsed("create", "a", "--requests-per-minute", "60", "--concurrency", "2", "--expires", "30d"),
    )

    assert (bare.requests_per_minute, bare.concurrency, bare.expires) == (None, None, None)
    assert (full.requests_per_minute, full.concurrency, full.expires) == (60, 2, "30d")


def test_keys_are_shown_one_a_line() -> None:
    one = {
        "name": "batch",
        "created_at": 1_800_000_000,
        "expires_at": None,
        "requests_per_minute": 60,
        "concurrency": None,
    }

    heading, line = render([one])

    assert heading.split("  ")[0] == "NAME"
    assert line.split() == ["batch", "2027-01-15", "08:00:00", "UTC", "never", "60", "any"]


def test_the_commands_of_the_document_are_understood() -> None:
    text = (ROOT / "docs" / "endpoint.md").read_text()
    lines = re.findall(r"^\./scripts/calyx (keys .*)$", text, re.MULTILINE)

    actions = {build_parser().parse_args(shlex.split(line, comments=True)).action for line in lines}

    assert actions == {"create", "list", "revoke", "off"}
