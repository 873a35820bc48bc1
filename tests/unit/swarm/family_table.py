"""The README's table of verified families; ``python -m tests.unit.swarm.family_table`` writes it there."""

import re
from pathlib import Path

import services.swarm  # noqa: F401 - configurations are read behind the patches
from services.swarm.family.verified import FAMILIES
from tests.unit.swarm.tiny_more_configs import ALL_CONFIGS

README = Path(__file__).resolve().parents[3] / "README.md"
_HEADING = "| family | architecture | what the tests' models have |"


def table() -> str:
    """Return the table: a row for each family, with what is special in its tests' models."""
    special: dict[str, list[str]] = {}
    for make in ALL_CONFIGS.values():
        special.setdefault(make().model_type, []).append(make.__doc__ or "")
    rows = sorted((family["name"], model_type) for model_type, family in FAMILIES.items())
    return "\n".join(
        [
            _HEADING,
            "|---|---|---|",
            *(f"| {name} | `{model_type}` | {'; '.join(special[model_type])} |" for name, model_type in rows),
        ]
    )


if __name__ == "__main__":
    README.write_text(
        re.sub(rf"{re.escape(_HEADING)}\n(\|.*\n)*", lambda _: table() + "\n", README.read_text())
    )
