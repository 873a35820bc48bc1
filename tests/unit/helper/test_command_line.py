import argparse
from pathlib import Path

import pytest

from scripts.helper.authority import Authority
from scripts.helper.cli import build_parser, main
from scripts.helper.context import Context
from scripts.helper.pools import Pool, Pools
from services.common.errors import Refused
from services.common.token import JoinToken

STACK = ["up", "down", "status", "logs", "doctor", "chat", "keys"]
POOL = ["create", "token", "join", "pause", "resume", "stop", "nodes", "revoke"]
TOKEN = JoinToken(pool="home", authority="203.0.113.7:7443", pin="ab" * 32, id="t-1", secret="s" * 43).text()


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder without settings, on a machine in no pool whose engine is at a place where none answers."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    return tmp_path


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    return captured.err


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["fly"],
        ["up", "--fast"],
        ["up", "--timeout", "0"],
        ["up", "--timeout", "soon"],
        ["up", "--timeout", "nan"],
        ["logs", "--tail", "0"],
        ["logs", "server", "vpn"],
        ["chat", "--max-length", "x"],
        ["--project", "No Good", "status"],
        ["--pool", "No Good", "status"],
        ["create", "home"],
        ["create", "No Good", "--address", "203.0.113.7"],
        ["create", "home", "--address", "203.0.113.7:80"],
        ["join"],
        ["join", "what is this"],
        ["join", TOKEN, "--public"],
        ["join", "--public", TOKEN],
        ["join", "--name", "attic"],
        ["join", TOKEN[:-3]],
        ["join", TOKEN.replace("calyx1_", "calyx2_")],
        ["token", "create", "--role", "king"],
        ["pause", "--grace", "0"],
        ["keys"],
        ["keys", "create"],
        ["keys", "create", "a", "--concurrency", "0"],
    ],
)
def test_wrong_usage_exits_2_with_one_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert "--help" in one_line(capsys)


@pytest.mark.parametrize("command", STACK + POOL)
def test_every_command_has_help_with_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert f"./scripts/calyx {command}" in capsys.readouterr().out.partition("examples:")[2]


@pytest.mark.parametrize("words", [["--project", "mine", "status"], ["status", "--project", "mine"]])
def test_shared_options_stand_on_either_side(words: list[str]) -> None:
    assert build_parser().parse_args(words).project == "mine"


def test_what_up_is_told() -> None:
    parsed = build_parser().parse_args(["up", "--yes", "--no-build", "--timeout", "90"])
    assert (parsed.yes, parsed.no_build, parsed.timeout) == (True, True, 90.0)
    assert not parsed.monitoring
    assert build_parser().parse_args(["up", "--monitoring"]).monitoring


@pytest.mark.parametrize("words", [["status"], ["status", "--json"], ["logs"], ["down"], ["chat", "hello"]])
def test_no_engine_is_one_line_and_exit_1(
    words: list[str], nowhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words, nowhere) == 1
    assert one_line(capsys).startswith("error: no Docker engine answers at unix://")


def test_doctor_needs_no_engine_to_say_what_is_missing(
    nowhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor"], nowhere) == 1
    assert "FAIL  Docker engine" in capsys.readouterr().out


def test_a_corrupt_env_file(nowhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (nowhere / ".env").write_text("CALYX_MODEL=a/b\n= nonsense '\n")
    assert main(["up"], nowhere) == 1
    assert "line 2 is not NAME=value" in one_line(capsys)


def test_a_setting_of_the_env_file_that_cannot_work(
    nowhere: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Set and deleted, so that what the command adds to the environment is undone after the test.
    monkeypatch.setenv("CALYX_ENDPOINT_PORT", "")
    monkeypatch.delenv("CALYX_ENDPOINT_PORT")
    (nowhere / ".env").write_text("CALYX_ENDPOINT_PORT=99999\n")
    assert main(["up"], nowhere) == 1
    assert one_line(capsys).startswith("error: setting CALYX_ENDPOINT_PORT:")


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (Refused("port 8000 is taken", "stop it"), 1, "error: port 8000 is taken — stop it\n"),
        (OSError(28, "No space left on device", "/x"), 1, "error: No space left on device: /x — "),
        (ValueError("two\nlines"), 1, "error: unexpected ValueError: two lines — "),
        (KeyboardInterrupt(), 130, "error: interrupted\n"),
    ],
)
def test_every_error_is_one_line(
    error: BaseException, code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(parsed: argparse.Namespace, root: Path) -> int:
        raise error

    assert main(["status"], run=fail) == code
    assert one_line(capsys).startswith(words)


def test_debug_shows_where_an_error_came_from(capsys: pytest.CaptureFixture[str]) -> None:
    def fail(parsed: argparse.Namespace, root: Path) -> int:
        raise ValueError("where?")

    assert main(["status", "--debug"], run=fail) == 1
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["pause"], ["resume"], ["stop"], ["nodes"], ["token", "list"], ["revoke", "a"]]
)
def test_a_machine_in_no_pool_learns_how_to_be_in_one(
    words: list[str], nowhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words, nowhere) == 1
    assert "this machine is in no pool — ./scripts/calyx create" in one_line(capsys)


def test_a_token_is_looked_at_before_any_engine_or_network(
    nowhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["join", TOKEN[:-3]], nowhere) == 2
    message = one_line(capsys)
    assert "token" in message
    assert "s" * 43 not in message


def test_the_seed_of_a_pool_is_not_stopped_by_mistake(
    nowhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Pools(nowhere / "state/calyx/pools").save(Pool("home", "calyx-home", "seed"))

    assert main(["stop"], nowhere) == 1
    assert "`stop --purge` ends it" in one_line(capsys)
    assert Pools(nowhere / "state/calyx/pools").names() == ["home"]


def test_the_place_in_a_pool_is_not_removed_by_mistake(
    nowhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Pools(nowhere / "state/calyx/pools").save(Pool("home", "calyx-home", "worker"))

    assert main(["down", "--volumes"], nowhere) == 1
    assert "`./scripts/calyx --pool home stop`" in one_line(capsys)


def test_only_a_seed_lets_others_in() -> None:
    pool = Pool("home", "calyx-home", "worker")
    with pytest.raises(Refused, match="only the pool's seed"):
        Authority(Context(project=pool.project).of(pool), engine=None)  # type: ignore[arg-type]
