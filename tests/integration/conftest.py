"""Petals as people have it, for tests that hold ours against it."""

import subprocess
from pathlib import Path

import pytest

from tests.swarm_processes import ROOT

STOCK_PETALS = ROOT / "tests/integration/stock_petals"


@pytest.fixture(scope="session")
def stock_python() -> Path:
    """Python with Petals 2.2.0.post1 on the transformers of its time; needs ``STOCK_PETALS`` as its path."""
    venv = ROOT / ".venv-stock"
    locks = [STOCK_PETALS / "requirements.txt", ROOT / "images/petals/requirements-nodeps.txt"]
    made = subprocess.run(
        [ROOT / "scripts/venv", venv, *locks], capture_output=True, text=True, timeout=1200, check=False
    )
    assert made.returncode == 0, made.stderr
    return venv / "bin/python"
