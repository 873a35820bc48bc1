"""``join`` from the first check to the last line, on a machine whose engine and programs are fakes."""

import socket
from dataclasses import replace
from pathlib import Path

import pytest

from scripts.helper.arguments import build_parser
from scripts.helper.cli import main
from scripts.helper.commands import join, sharing
from scripts.helper.pools import Pool
from scripts.helper.shell import Finished
from services.common.errors import Broken, InvalidInput, InvalidSetting, Refused, Unavailable
from services.common.token import JoinToken
from tests.unit.helper.helper_fakes import container
from tests.unit.helper.joining import Bench

TOKEN = JoinToken(pool="home", authority="203.0.113.7:7443", pin="ab" * 32, id="t-1", secret="s" * 43).text()


@pytest.fixture(autouse=True)
def _free_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CALYX_ENDPOINT_PORT", "CALYX_GRPC_PORT", "CALYX_HEALTH_PORT", "CALYX_SERVER_PORT"):
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            monkeypatch.setenv(name, str(one.getsockname()[1]))
    for name in ("CALYX_INITIAL_PEERS", "CALYX_ANNOUNCE_HOST"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_worker_takes_its_place_before_anything_else_is_made(bench: Bench) -> None:
    bench.join(TOKEN, "--name", "attic", "--num-blocks", "4")

    create = "create --no-build --remove-orphans"
    assert bench.composed == ["build", f"{create} vpn", create]
    assert bench.engine.ran == ["services.vpn.enrolment"]
    assert bench.engine.there.keys() == {"vpn", "server"}
    assert bench.pools.load("home").settings == {"CALYX_NODE_NAME": "attic", "CALYX_NUM_BLOCKS": "4"}
    assert "Using 10.77.0.2 address for worker attic" in bench.steps.text
    assert "You are connected to home" in bench.steps.text


def test_a_user_gets_no_server_and_learns_what_meant_nothing(bench: Bench) -> None:
    bench.engine.role = "user"

    bench.join(TOKEN, "--name", "attic", "--num-blocks", "4", "--device", "cpu")

    assert bench.engine.there.keys() == {"vpn"}
    assert bench.composed[-1].endswith("--scale server=0")
    assert bench.pools.load("home") == Pool(
        "home", "calyx-home", "worker", {"CALYX_NODE_NAME": "attic"}, server=False
    )
    assert "these mean nothing: --device --num-blocks" in bench.steps.text
    assert "You may use home; this machine shares no blocks" in bench.steps.text
    assert "connected" not in bench.steps.text


def test_a_worker_that_shall_answer_gets_an_endpoint_and_remembers_it(bench: Bench) -> None:
    bench.join(TOKEN, "--name", "attic", "--endpoint")

    assert bench.engine.there.keys() == {"vpn", "server", "endpoint"}
    kept = bench.pools.load("home")
    assert kept.settings == {"CALYX_NODE_NAME": "attic", "CALYX_OWN_ENDPOINT": "1"}
    assert kept.endpoint


def test_a_user_gets_no_endpoint(bench: Bench) -> None:
    bench.engine.role = "user"

    bench.join(TOKEN, "--name", "attic", "--endpoint")

    assert bench.engine.there.keys() == {"vpn"}
    assert bench.pools.load("home").settings == {"CALYX_NODE_NAME": "attic"}
    assert "these mean nothing: --endpoint" in bench.steps.text


def test_a_user_has_nothing_to_pause_or_resume(bench: Bench) -> None:
    user = Pool("home", "calyx-home", "worker", server=False)

    with pytest.raises(Refused, match="this machine is a user of home and shares no blocks — "):
        sharing._server(bench.context.of(user), bench.engine)  # type: ignore[arg-type]


def test_the_public_swarm_takes_neither_token_nor_tunnel_nor_an_answer_of_the_model(bench: Bench) -> None:
    bench.engine.fate["endpoint"] = {"health": "unhealthy"}

    bench.join("--public", "--model", "big/one", "--name", "attic")

    assert bench.composed == ["build", "create --no-build --remove-orphans"]
    assert bench.engine.ran == []
    assert bench.engine.there.keys() == {"vpn", "server", "endpoint", "health"}
    assert bench.pools.load("public") == Pool(
        "public",
        "calyx-public",
        "public",
        {"CALYX_INITIAL_PEERS": "public", "CALYX_PUBLIC_NAME": "attic", "CALYX_MODEL": "big/one"},
    )
    assert "You are connected to the public swarm" in bench.steps.text


def test_the_way_into_another_swarm_and_the_ports_are_remembered(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CALYX_INITIAL_PEERS", "/ip4/203.0.113.9/tcp/1/p2p/a,/ip4/203.0.113.9/tcp/2/p2p/b")
    monkeypatch.setenv("CALYX_ANNOUNCE_HOST", "198.51.100.3")
    wanted = vars(build_parser().parse_args(["join", "--public", "--name", "attic", "--public-name", "me"]))

    pool = join.new_pool(wanted, None, {"CALYX_ENDPOINT_PORT": "8001"})

    assert pool.settings == {
        "CALYX_INITIAL_PEERS": "/ip4/203.0.113.9/tcp/1/p2p/a /ip4/203.0.113.9/tcp/2/p2p/b",
        "CALYX_ANNOUNCE_HOST": "198.51.100.3",
        "CALYX_ENDPOINT_PORT": "8001",
        "CALYX_PUBLIC_NAME": "me",
    }


def test_a_public_swarm_that_cannot_be_reached(bench: Bench) -> None:
    bench.engine.fate["server"] = {"state": "exited", "exit_code": 1}
    bench.engine.lines["server"] = "ERROR joining the public swarm through Petals' own peers: no answer"

    error = bench.refuses(Unavailable, "--public")

    assert "server ended with exit code 1: ERROR joining the public swarm" in error
    assert bench.composed[-1].endswith("down --remove-orphans")
    assert bench.engine.ran == []


@pytest.mark.parametrize("words", [["--public"], [TOKEN]], ids=["public", "token"])
def test_joining_twice_touches_nothing_and_says_the_way_out(bench: Bench, words: list[str]) -> None:
    bench.join(*words)
    before = len(bench.shell.calls)

    error = bench.refuses(InvalidInput, *words)

    assert "already — `./scripts/calyx --pool " in error
    assert (len(bench.shell.calls), bench.prepared) == (before, 1)


def test_a_name_that_another_stack_has_is_left_alone(bench: Bench) -> None:
    bench.engine.there["vpn"] = container("vpn")

    assert "there is a stack named calyx-home already" in bench.refuses(Refused, TOKEN)
    assert bench.composed == []


def test_a_second_pool_beside_the_first_needs_ports_of_its_own(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as one, socket.socket() as other:
        for listener, name in ((one, "CALYX_ENDPOINT_PORT"), (other, "CALYX_HEALTH_PORT")):
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            monkeypatch.setenv(name, str(listener.getsockname()[1]))

        error = bench.refuses(Refused, TOKEN)

    assert "write CALYX_ENDPOINT_PORT=… CALYX_HEALTH_PORT=… before the command" in error
    assert bench.composed == []


def test_no_tunnel_device_is_said_before_anything_is_made(bench: Bench, tmp_path: Path) -> None:
    bench.context = replace(bench.context, tun=tmp_path / "missing")

    assert "/dev/net/tun is missing — load it: modprobe tun" in bench.refuses(Refused, TOKEN)
    assert (bench.composed, bench.engine.ran) == ([], [])

    bench.join("--public")


def test_a_disk_that_is_full_when_the_pool_is_recorded_undoes_everything(bench: Bench) -> None:
    bench.engine.full_disk_at = "server"

    error = bench.refuses(Broken, TOKEN)

    assert "pool.json: File too large" in error
    assert bench.engine.ran == ["services.vpn.enrolment", "services.vpn.leaving"]
    assert bench.composed[-1].endswith("down --remove-orphans")


def test_an_authority_that_does_not_answer_is_said_with_the_time_that_was_waited(bench: Bench) -> None:
    words = "enrolling: the authority 203.0.113.7:7443 does not answer, waited 5 s — check that the seed runs"
    bench.engine.enrolment = Finished(1, f"{words}\n")

    assert bench.refuses(Refused, TOKEN) == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (TOKEN[:-3], "cut off or mistyped"),
        (TOKEN[:20] + ("A" if TOKEN[20] != "A" else "B") + TOKEN[21:], "cut off or mistyped"),
        (TOKEN.replace("calyx1_", "calyx2_"), "its version is 2, this Calyx reads version 1"),
        ("hello", "this is not a token of Calyx"),
    ],
    ids=["truncated", "mistyped", "foreign version", "no token"],
)
def test_a_bad_token_is_refused_before_any_engine_or_network(
    text: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["join", text], tmp_path, run=lambda *_: pytest.fail("the command was run")) == 2

    errors = capsys.readouterr().err
    assert words in errors
    assert errors.count("\n") == 1
    assert "s" * 43 not in errors


@pytest.mark.parametrize(
    "words",
    [["--block-indices", "9:3"], ["--num-blocks", "2", "--block-indices", "0:2"], ["--device", "abacus"]],
    ids=" ".join,
)
def test_what_no_server_can_take_is_refused_before_anything_is_made(bench: Bench, words: list[str]) -> None:
    bench.refuses(InvalidSetting, TOKEN, *words)

    assert bench.prepared == 0
