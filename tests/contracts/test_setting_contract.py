"""A setting has one home, one meaning and a way in: settings, ``.env.example`` and compose name the same."""

import re
from pathlib import Path
from typing import Any

import pytest

from services.common.settings import SECTIONS, Section

ROOT = Path(__file__).resolve().parents[2]
COMPOSE_FILES = sorted(path.name for path in ROOT.glob("compose*.yaml"))
LAST_HEADING = "# === Inside the containers"
READ_BY_THE_HELPER_ALONE = {"CALYX_API_KEY"}
FIELDS = {
    variable: (section, name)
    for section in SECTIONS
    for name, variable in section.variables().items()
}  # fmt: skip


def entries(text: str) -> dict[str, tuple[str, str]]:
    """Return variable → (the comment above it, the value given) of a file like ``.env.example``."""
    found, comment = {}, []
    for line in text.splitlines():
        if match := re.fullmatch(r"#?([A-Z][A-Z0-9_]*)=(.*)", line):
            found[match[1]] = (" ".join(comment), match[2])
            comment = []
        else:
            comment = [*comment, line.removeprefix("#").strip()] if line.startswith("#") else []
    return found


def example() -> dict[str, tuple[str, str]]:
    return entries((ROOT / ".env.example").read_text())


def interpolated() -> dict[str, set[str]]:
    """Return variable → the defaults that ``${VARIABLE:-default}`` gives it in the compose files."""
    found: dict[str, set[str]] = {}
    for name in COMPOSE_FILES:
        for variable, default in re.findall(r"\$\{(\w+)(?::-([^}]*))?\}", (ROOT / name).read_text()):
            found.setdefault(variable, set()).add(default)
    return found


def passed_on(services: dict[str, dict[str, Any]]) -> set[str]:
    """Return the variables that the user's environment hands through compose to a container."""
    return {
        variable
        for service in services.values()
        for variable, value in service.get("environment", {}).items()
        if value is None
    }


def test_every_setting_is_in_the_example_with_its_meaning() -> None:
    documented = {variable: comment for variable, (comment, _) in example().items()}

    assert documented == {
        variable: " ".join((section.model_fields[name].description or "").split())
        for variable, (section, name) in FIELDS.items()
    }


@pytest.mark.parametrize("section", SECTIONS)
def test_the_example_loads_and_says_the_defaults(
    section: type[Section], monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in FIELDS:
        monkeypatch.delenv(variable, raising=False)
    defaults = section.load()
    for variable, (_, value) in example().items():
        monkeypatch.setenv(variable, value)

    assert section.load() == defaults


def test_what_compose_fills_in_is_a_setting_with_the_same_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in FIELDS:
        monkeypatch.delenv(variable, raising=False)

    for variable, defaults in interpolated().items():
        section, name = FIELDS[variable]
        assert defaults == {str(getattr(section.load(), name))}, variable


def test_what_compose_hands_to_a_container_is_a_setting(services: dict[str, dict[str, Any]]) -> None:
    named = {variable for service in services.values() for variable in service.get("environment", {})}

    assert {variable.removesuffix("_FILE") for variable in named} <= FIELDS.keys()


def test_a_room_gets_its_own_settings_and_no_other_room_s(
    services: dict[str, dict[str, Any]], fragments: dict[str, dict[str, Any]]
) -> None:
    for declared in (services, *(file["services"] for file in fragments.values())):
        for room, service in declared.items():
            variables = (service or {}).get("environment", ())
            sections = {FIELDS[variable.removesuffix("_FILE")][0].__name__ for variable in variables}
            own = {f"{room.capitalize()}Settings", "LoggingSettings", "SwarmSettings"}
            assert sections <= own, room


def test_every_setting_has_a_way_in_or_is_listed_as_having_none(
    compose: dict[str, Any], fragments: dict[str, dict[str, Any]]
) -> None:
    secrets = {secret["environment"] for secret in compose["secrets"].values() if "environment" in secret}
    reachable = interpolated().keys() | secrets | READ_BY_THE_HELPER_ALONE
    for file in (compose, *fragments.values()):
        reachable |= passed_on({name: service for name, service in file["services"].items() if service})
    head, heading, tail = (ROOT / ".env.example").read_text().partition(LAST_HEADING)

    assert heading
    assert set(entries(head)) == reachable
    assert set(entries(tail)) == FIELDS.keys() - reachable
