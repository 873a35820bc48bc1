"""Petals runs on today's libraries, in every process, and not on versions that nobody has tried."""

import importlib
import multiprocessing
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from services.common.errors import Broken
from services.swarm import compat

ROOT = Path(__file__).parents[3]
TORCH = version("torch").split("+")[0]


def _patched_names() -> list[str]:
    return [name for names in compat._HIVEMIND_HOMES.values() for name in names]


def names_that_are_missing() -> list[str]:
    """Return what Petals could not import in this process; runs in children too."""
    hivemind = importlib.import_module("hivemind")
    missing = [f"hivemind.{name}" for name in _patched_names() if not hasattr(hivemind, name)]
    for module in ("petals.server.handler", "petals.client.inference_session", "petals.server.server"):
        importlib.import_module(module)
    if not hasattr(importlib.import_module("transformers.utils"), "get_file_from_repo"):
        missing.append("transformers.utils.get_file_from_repo")
    return missing


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_every_child_process_has_the_names_that_petals_needs(method: str) -> None:
    with multiprocessing.get_context(method).Pool(1) as children:
        assert children.apply_async(names_that_are_missing).get(timeout=120) == []


def test_this_process_has_them() -> None:
    assert len(_patched_names()) > 10
    assert names_that_are_missing() == []


def run(program: str) -> str:
    """Return what a new interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True
    )
    return done.stdout.strip()


def test_who_reads_the_table_alone_goes_without_petals_and_the_model_layer() -> None:
    loaded = run(
        "import sys, services.swarm.directory, services.swarm.processes\n"
        "print([name for name in ('petals', 'transformers', 'peft', 'bitsandbytes') if name in sys.modules])"
    )

    assert loaded == "[]"


def test_petals_is_whole_and_patched_once_it_is_imported_after_the_table_was_read() -> None:
    checked = run(
        "import services.swarm.directory, petals.server.server, petals.client\n"
        "from petals import AutoDistributedConfig\n"
        "from petals.utils.auto_config import _CLASS_MAPPING\n"
        "from services.swarm import recovery\n"
        "from services.swarm.parsing import ServerInfo\n"
        "print(petals.data_structures.ServerInfo is ServerInfo, petals.utils.dht.ServerInfo is ServerInfo,\n"
        "      petals.client.inference_session.InferenceSession.step is recovery._step, 'llama' in _CLASS_MAPPING)"
    )

    assert checked == "True True True True"


def test_the_installed_versions_are_known() -> None:
    compat.check_versions()


def test_a_package_that_is_missing() -> None:
    with pytest.raises(Broken, match="no-such-package is not installed — install no-such-package>=1,<2"):
        compat.check_versions({"no-such-package": ("1", "2")})


@pytest.mark.parametrize(("first", "end"), [("0.1", "1"), ("90", "91"), ("0.1", TORCH)])
def test_a_version_that_nobody_tried(first: str, end: str) -> None:
    with pytest.raises(Broken) as refused:
        compat.check_versions({"torch": (first, end)})

    assert str(refused.value) == (
        f"torch {version('torch')} is not a version that Calyx knows (from {first}, below {end}) — "
        f"install torch>={first},<{end}, or extend services/swarm/compat.py after running the tests"
    )


def test_the_first_known_version_is_known() -> None:
    compat.check_versions({"torch": (TORCH, "99")})
