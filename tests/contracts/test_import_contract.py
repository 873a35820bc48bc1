"""Who may import whom. An image holds only its rooms, so what breaks here would break in the container."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SPEAK_TO_THE_SWARM = {"server", "bootstrap", "endpoint", "health"}
ENGINE = {"petals", "hivemind", "tensor_parallel"}
HEAVY = ENGINE | {"torch", "transformers", "peft", "accelerate", "safetensors"}
ROOMS = sorted(path.name for path in (ROOT / "services").iterdir() if (path / "__init__.py").exists())


def imports(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield every module that a file below ``folder`` imports, also inside functions, with that file."""
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(), str(path))):
            if isinstance(node, ast.Import):
                yield from ((path, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}:{node.lineno}: a relative import hides the room it names"
                assert node.module is not None
                # "from services import x" names a room as well.
                yield from ((path, f"{node.module}.{alias.name}") for alias in node.names)


def offenders(folder: Path, forbidden: set[str]) -> list[str]:
    """Return "file: module" for each import below ``folder`` of a top-level package in ``forbidden``."""
    return [
        f"{path.relative_to(ROOT)}: {module}"
        for path, module in imports(folder)
        if module.split(".")[0] in forbidden
    ]


def test_the_rules_see_an_import_wherever_it_stands(tmp_path: Path) -> None:
    (tmp_path / "room.py").write_text(
        "import torch.nn\nfrom services import vpn\ndef late():\n    from petals.client import routing\n"
    )

    found = [module for _, module in imports(tmp_path)]

    assert found == ["torch.nn", "services.vpn", "petals.client.routing"]


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_no_other_service(room: str) -> None:
    allowed = {room} if room == "common" else {room, "common"}
    if room in SPEAK_TO_THE_SWARM:
        allowed.add("swarm")

    wrong = [
        f"{path.relative_to(ROOT)}: {module}"
        for path, module in imports(ROOT / "services" / room)
        if module.startswith("services.") and module.split(".")[1] not in allowed
    ]

    assert wrong == []


@pytest.mark.parametrize("room", sorted(set(ROOMS) - {"swarm"}))
def test_only_swarm_knows_the_engine(room: str) -> None:
    assert offenders(ROOT / "services" / room, ENGINE) == []


@pytest.mark.parametrize(("room", "more"), [("common", set()), ("vpn", {"urllib3"})])
def test_rooms_that_all_images_or_the_smallest_hold_need_little(room: str, more: set[str]) -> None:
    allowed = sys.stdlib_module_names | {"services", "pydantic", "pydantic_settings"} | more

    wrong = [
        f"{path.relative_to(ROOT)}: {module}"
        for path, module in imports(ROOT / "services" / room)
        if module.split(".")[0] not in allowed
    ]

    assert wrong == []


def test_services_import_neither_scripts_nor_tests() -> None:
    assert offenders(ROOT / "services", {"scripts", "tests"}) == []


def test_the_helper_starts_without_the_engine() -> None:
    helper = ROOT / "scripts" / "helper"
    rooms = {module.split(".")[1] for _, module in imports(helper) if module.startswith("services.")}

    assert rooms <= {"common"}
    assert offenders(helper, HEAVY) == []


def test_one_module_speaks_to_the_container_engine() -> None:
    users = {entry.split(":")[0] for entry in offenders(ROOT / "scripts", {"docker"})}

    assert users <= {"scripts/helper/engine.py"}
