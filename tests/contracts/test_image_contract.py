"""How images are made: no hidden default, no secret in a layer, only the target's own rooms, all locked."""

import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILES = sorted((ROOT / "images").glob("*/Dockerfile"))
ROOMS = {"vpn": {"common", "vpn"}, "prometheus": set()}
"""What images hold that do not speak to the swarm."""
LOCKS = sorted(
    path.with_suffix(".txt")
    for folder in ("images/petals", "scripts", "tests")
    for path in (ROOT / folder).glob("requirements*.in")
)


def stages(dockerfile: Path) -> dict[str, list[str]]:
    """Return stage → its instructions, those of the stages of this file that it starts from included."""
    text = re.sub(r"^\s*#.*\n", "", dockerfile.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    found: dict[str, list[str]] = {}
    name = ""
    for line in filter(None, map(str.strip, text.splitlines())):
        if match := re.fullmatch(r"FROM (\S+) AS (\S+)", line):
            name = match[2]
            found[name] = list(found.get(match[1], []))
        elif name:
            found[name].append(line)
    return found


def rooms(instructions: list[str]) -> set[str]:
    return {
        match[1] for line in instructions if (match := re.fullmatch(r"COPY services/(\w+) services/\1", line))
    }


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.parent.name)
class TestDockerfile:
    def test_it_needs_no_frontend_from_a_registry(self, dockerfile: Path) -> None:
        assert not re.search(r"^#\s*syntax\s*=", dockerfile.read_text(), re.IGNORECASE | re.MULTILINE)

    def test_it_holds_no_setting(self, dockerfile: Path) -> None:
        text = dockerfile.read_text()
        defaults = re.findall(r"^ARG (\w+)=", text, re.MULTILINE)

        assert "CALYX_" not in text
        assert defaults == ["BASE"]

    def test_no_argument_could_hold_a_secret(self, dockerfile: Path) -> None:
        # Arguments stay readable in the image's history; an index URL may hold a password.
        arguments = set(re.findall(r"^ARG (\w+)", dockerfile.read_text(), re.MULTILINE))

        assert arguments <= {"BASE", "TORCH_VARIANT", "TORCH_INDEX"}

    def test_what_runs_is_not_root(self, dockerfile: Path) -> None:
        for name, instructions in stages(dockerfile).items():
            if any(line.startswith("CMD") for line in instructions):
                assert "USER 10001:10001" in instructions, name


def test_a_target_holds_its_own_room_and_the_shared_ones(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        build = service["build"]
        built = stages(ROOT / build["dockerfile"])[build.get("target", name)]
        assert rooms(built) == ROOMS.get(name, {"common", "swarm", name}), name


def test_our_code_is_the_last_layer() -> None:
    for name, instructions in stages(ROOT / "images/petals/Dockerfile").items():
        code = [index for index, line in enumerate(instructions) if line.startswith("COPY services/")]
        slow = [
            index
            for index, line in enumerate(instructions)
            if line.startswith(("RUN", "COPY --from")) and not re.search("--from=(protos|kernels) ", line)
        ]
        assert not code or max(slow) < min(code), name


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: str(path.relative_to(ROOT)))
class TestLock:
    def test_it_pins_every_version_and_names_no_source(self, lock: Path) -> None:
        lines = [line for line in lock.read_text().splitlines() if line and not line.lstrip().startswith("#")]

        assert lines
        assert [line for line in lines if not re.fullmatch(r"[a-z0-9-]+==[0-9][a-z0-9.]*", line)] == []

    def test_it_has_what_its_source_asks_for(self, lock: Path) -> None:
        locked = set(re.findall(r"^([a-z0-9-]+)==", lock.read_text(), re.MULTILINE))
        source = re.sub(r"#.*", "", lock.with_suffix(".in").read_text())
        asked = {
            match.lower().replace("_", "-") for match in re.findall(r"^(\w[\w-]*)", source, re.MULTILINE)
        }

        assert asked <= locked
