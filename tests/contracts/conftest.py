"""The files that contracts are about."""

from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def compose() -> dict[str, Any]:
    """``compose.yaml`` with its anchors resolved, before any variable is filled in."""
    return yaml.safe_load((ROOT / "compose.yaml").read_text())


class _ComposeLoader(yaml.SafeLoader):
    """Knows how a fragment says that it replaces or removes what it is added to."""


_ComposeLoader.add_multi_constructor(
    "!",
    lambda loader, _, node: (
        loader.construct_mapping(node, deep=True)
        if isinstance(node, yaml.MappingNode)
        else loader.construct_sequence(node, deep=True)
        if isinstance(node, yaml.SequenceNode)
        else None
    ),
)


@pytest.fixture(scope="session")
def fragments() -> dict[str, dict[str, Any]]:
    """The files that are added to ``compose.yaml``, by their name."""
    return {
        path.name: yaml.load(path.read_text(), _ComposeLoader) for path in sorted(ROOT.glob("compose.*.yaml"))
    }


@pytest.fixture(scope="session")
def services(compose: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The declarations of the containers, by the name of the service."""
    return compose["services"]
