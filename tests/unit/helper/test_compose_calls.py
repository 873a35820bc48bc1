from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from scripts.helper.compose import Compose
from scripts.helper.context import Context
from scripts.helper.pools import Pool
from scripts.helper.preparation import make_compose
from scripts.helper.shell import Finished
from services.common.errors import Refused
from tests.unit.helper.helper_fakes import FakeShell, Written, container


def context(shell: FakeShell, folder: Path) -> Context:
    environment = {"XDG_STATE_HOME": str(folder / "state")}
    return Context("mine", environment=environment, root=folder, steps=Written(), shell=shell)


def beginning(folder: Path, *files: str) -> str:
    named = "".join(f" --file {folder / name}" for name in files)
    return (
        "docker compose --ansi never --progress plain --project-name mine "
        f"--project-directory {folder}{named}"
    )


def test_project_files_and_variables_are_named_in_every_call(tmp_path: Path) -> None:
    shell = FakeShell({"docker compose": ""})
    compose = Compose(context(shell, tmp_path), gpu=False, environment={"CALYX_WHEELHOUSE": "/wheels"})
    compose.build(lambda _: None)
    compose.create()
    compose.create(["vpn"])
    compose.recreate(["server"])
    compose.down(volumes=False)
    compose.down(volumes=True)
    start = beginning(tmp_path, "compose.yaml")
    assert shell.calls == [
        f"{start} build",
        f"{start} create --no-build --remove-orphans",
        f"{start} create --no-build --remove-orphans vpn",
        f"{start} create --no-build --force-recreate server",
        f"{start} --profile monitoring down --remove-orphans",
        f"{start} --profile monitoring down --remove-orphans --volumes",
    ]
    assert all(given == {"CALYX_WHEELHOUSE": "/wheels"} for given in shell.environments)


def test_a_gpu_adds_its_fragment(tmp_path: Path) -> None:
    shell = FakeShell({"docker compose": ""})
    Compose(context(shell, tmp_path), gpu=True).create()
    assert shell.calls[0].startswith(beginning(tmp_path, "compose.yaml", "compose.gpu.yaml"))


def test_prometheus_is_of_a_profile_of_its_own(tmp_path: Path) -> None:
    shell = FakeShell({"docker compose": ""})
    compose = Compose(context(shell, tmp_path), gpu=False, monitoring=True)
    compose.build(lambda _: None)
    compose.create()
    compose.recreate(["server"])
    start = beginning(tmp_path, "compose.yaml")
    assert all(call.startswith(f"{start} --profile monitoring ") for call in shell.calls)


@pytest.mark.parametrize(
    ("there", "asked", "belongs"), [(True, False, True), (False, True, True), (False, False, False)]
)
def test_prometheus_is_added_when_asked_for_and_stays(
    tmp_path: Path, there: bool, asked: bool, belongs: bool
) -> None:
    shell = FakeShell({"docker compose": ""})
    engine = SimpleNamespace(
        runtimes=frozenset,
        containers=lambda _: [container("vpn"), *([container("prometheus")] if there else [])],
    )
    make_compose(context(shell, tmp_path), engine, monitoring=asked).create()  # type: ignore[arg-type]
    assert ("--profile monitoring" in shell.calls[-1]) is belongs


def test_a_member_s_own_endpoint_is_a_profile(tmp_path: Path) -> None:
    shell = FakeShell({"docker compose": ""})
    pool = Pool("home", "mine", "worker", {"CALYX_OWN_ENDPOINT": "1"})
    for one in (pool, replace(pool, settings={"CALYX_OWN_ENDPOINT": "0"}), replace(pool, server=False)):
        Compose(context(shell, tmp_path).of(one), gpu=False).create()
    assert ["--profile endpoint" in call for call in shell.calls] == [True, False, False]


def test_a_log_that_cannot_be_kept_keeps_nothing_from_being_removed(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("no folder")
    shell = FakeShell({"docker compose": ""})
    Compose(context(shell, tmp_path), gpu=False).down(volumes=False)
    assert shell.calls[0].endswith("down --remove-orphans")


def test_a_failure_is_explained_and_its_whole_output_kept(tmp_path: Path) -> None:
    output = "#9 1.2 writing\n#9 ERROR: write /x: no space left on device\n"
    where = context(FakeShell({"docker compose": Finished(17, output)}), tmp_path)
    lines: list[str] = []
    with pytest.raises(Refused, match="building the images: no space is left"):
        Compose(where, gpu=False).build(lines.append)
    assert lines == output.splitlines()
    assert where.compose_log.read_text() == f"$ docker compose build\n{output}exit 17\n"
