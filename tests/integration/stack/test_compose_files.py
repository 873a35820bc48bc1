"""Docker Compose itself takes every file, alone and with what is added to it, when nobody has set anything."""

import os

import pytest

from tests.integration.stack.pool import ROOT, run


@pytest.mark.usefixtures("first_up")  # which installs Compose where it is missing
@pytest.mark.parametrize(
    "fragments",
    [
        [],
        ["compose.gpu.yaml"],
        ["compose.seed.yaml"],
        ["compose.worker.yaml", "compose.gpu.yaml"],
        ["compose.public.yaml"],
    ],
    ids=" and ".join,
)
def test_compose_accepts_the_files_without_any_setting(fragments: list[str]) -> None:
    files = [part for name in ["compose.yaml", *fragments] for part in ("--file", ROOT / name)]
    only = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}

    checked = run(
        [
            "docker",
            "compose",
            "--env-file",
            os.devnull,
            "--profile",
            "monitoring",
            *files,
            "config",
            "--quiet",
        ],
        only,
    )

    assert (checked.code, checked.err) == (0, "")
