import io
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from rich.console import Console
from rich.text import Text

from scripts.helper.commands import status
from scripts.helper.commands.status import why_not_running
from scripts.helper.containers import Container
from scripts.helper.gpus import GpuState
from scripts.helper.overview import Overview, fetch_json, survey
from scripts.helper.overview_text import render
from scripts.helper.pools import Pool
from services.common.node_report import NodeReport, PeerReport
from tests.unit.helper.helper_fakes import container, moment

STATE: dict[str, Any] = {
    "models": [
        {
            "name": "a/b",
            "dht_prefix": "b-hf",
            "num_blocks": 4,
            "healthy": False,
            "missing_blocks": [0, 1, 3],
            "blocks": [0, 0, 1, 0],
            "servers": [{"peer_id": "x", "state": "online", "start_block": 2, "end_block": 3}],
        }
    ],
    "age_seconds": 4.5,
    "error": None,
    "departed": [],
}
VPN = container("vpn", ports=((8000, 9000), (8080, 9080)), started_at=moment(0))


def overview(
    *containers: Container, state: dict[str, Any] | None = None, pool: Pool | None = None
) -> Overview:
    asked: list[str] = []

    def fetch(url: str) -> dict[str, Any] | None:
        asked.append(url)
        return state

    found = survey("calyx", list(containers), fetch, pool)
    assert asked in ([], ["http://127.0.0.1:9080/api/v2/state"])
    return found


def test_json_keeps_its_shape() -> None:
    assert json.loads(overview(VPN, state=STATE).to_json()) == {
        "project": "calyx",
        "running": True,
        "endpoint": "http://127.0.0.1:9000",
        "health": "http://127.0.0.1:9080",
        "services": [
            {
                "name": "vpn",
                "state": "running",
                "health": "healthy",
                "since": "2026-01-01T12:00:00+00:00",
                "detail": None,
            }
        ],
        "swarm": {"age_seconds": 4.5, "error": None, "departed": []},
        "models": [
            {
                "name": "a/b",
                "blocks": 4,
                "online_blocks": 1,
                "missing_blocks": [0, 1, 3],
                "healthy": False,
                "servers": 1,
                "copies": [0, 0, 1, 0],
                "holders": [
                    {
                        "peer_id": "x",
                        "state": "online",
                        "start_block": 2,
                        "end_block": 3,
                        "public_name": None,
                        "throughput": None,
                        "tokens_per_second": None,
                        "cache_tokens_left": None,
                        "problem": None,
                        "figures": None,
                    }
                ],
            }
        ],
        "pool": None,
        "node": None,
        "gpus": [],
    }


def test_lines_for_people() -> None:
    server = container(
        "server", health="starting", detail="loading", depends_on=("vpn",), started_at=moment(59)
    )
    lines = render(overview(VPN, server, state=STATE), moment(0) + timedelta(minutes=61))
    assert lines[1] == "vpn        running  healthy    1 hour"
    assert lines[2] == "server     running  starting   1 hour      loading"
    assert lines[-2:] == ["endpoint  http://127.0.0.1:9000", "health    http://127.0.0.1:9080"]


@pytest.mark.parametrize(
    ("age", "words"), [(0, "0 seconds"), (90, "1 minute"), (7200, "2 hours"), (86400 * 3, "3 days")]
)
def test_how_long_ago(age: int, words: str) -> None:
    assert render(overview(VPN), moment(0) + timedelta(seconds=age))[1].endswith(words)


def test_why_a_stack_is_not_running() -> None:
    assert why_not_running(overview(VPN)) is None
    assert str(why_not_running(overview())) == "calyx does not run — start it by ./scripts/calyx up"
    ended = overview(VPN, container("server", "exited"), container("health", health="unhealthy"))
    assert not ended.running
    assert str(why_not_running(ended)).startswith("calyx: health is unhealthy, server is exited — ")


def test_a_paused_node_of_a_pool_is_as_it_shall_be() -> None:
    pool = Pool("home", "calyx-home", "worker", paused=True)
    paused = overview(VPN, container("server", "exited", health="unhealthy"), pool=pool)

    assert why_not_running(paused) is None
    assert "pool      home, this machine is a worker, paused: ./scripts/calyx resume shares again" in render(
        paused, moment(1)
    )
    broken = overview(replace(VPN, health="unhealthy"), container("server", "exited"), pool=pool)
    assert str(why_not_running(broken)).startswith("calyx: vpn is unhealthy — ")


def test_nothing_at_an_address() -> None:
    assert fetch_json("http://127.0.0.1:9/", limit=0.5) is None


NODE = NodeReport(
    pool="home",
    name="attic",
    role="worker",
    address="10.77.0.5",
    authority="203.0.113.7:7443",
    expires_at=moment(0).timestamp() + 86400,
    ca_expires_at=moment(0).timestamp() + 86400 * 365,
    healthy=True,
    detail="good",
    peers=[
        PeerReport("seed", "10.77.0.1", "direct", "203.0.113.7:4242"),
        PeerReport("cellar", "10.77.0.6", "relayed", "seed"),
        PeerReport("loft", "10.77.0.7", "none", ""),
    ],
    problems=["Nebula does not run"],
)


def test_the_private_network_for_people() -> None:
    seen = replace(overview(VPN, pool=Pool("home", "calyx", "worker")), node=NODE)
    lines = render(seen, moment(0))

    assert lines[3:10] == [
        "pool      home, this machine is a worker",
        "network   attic is 10.77.0.5, its certificate is renewed before 2026-01-02 12:00 UTC",
        "          the pool's authority ends on 2027-01-01 12:00 UTC",
        "peer      seed 10.77.0.1: direct (203.0.113.7:4242)",
        "peer      cellar 10.77.0.6: relayed by seed",
        "peer      loft 10.77.0.7: no tunnel yet",
        "problem   Nebula does not run",
    ]


def test_an_authority_that_ends_soon_is_to_be_renewed() -> None:
    soon = replace(NODE, ca_expires_at=moment(0).timestamp() + 86400 * 20)

    assert (
        "renew it on the seed by ./scripts/calyx rotate-ca"
        in render(replace(overview(VPN), node=soon), moment(0))[4]
    )


def test_memory_of_gpus() -> None:
    gpus = [GpuState("RTX 4060", 6 * 1024**3, 8 * 1024**3, busy) for busy in (None, 0.25)]

    lines = render(replace(overview(VPN), gpus=gpus), moment(0))

    assert [line for line in lines if line.startswith("GPU")] == [
        "GPU       RTX 4060: 6.0 of 8.0 GiB in use",
        "GPU       RTX 4060: 6.0 of 8.0 GiB in use, 25% busy",
    ]


def test_a_node_is_in_the_json_too() -> None:
    document = json.loads(replace(overview(VPN), node=NODE).to_json())

    assert [(peer["name"], peer["way"]) for peer in document["node"]["peers"]] == [
        ("seed", "direct"),
        ("cellar", "relayed"),
        ("loft", "none"),
    ]


def watched(console: Console, *texts: str) -> None:
    """Watch until there is nothing new."""
    left = iter(texts)

    def text() -> Text:
        for one in left:
            return Text(one)
        raise KeyboardInterrupt

    status.show_while_wanted(text, console, sleep=lambda _: None)


def test_watching_shows_it_anew_in_place_until_somebody_ends_it() -> None:
    shown = io.StringIO()
    watched(Console(file=shown, force_terminal=True), "2 servers", "3 servers")

    assert "2 servers" in shown.getvalue()
    assert "3 servers" in shown.getvalue()
    assert "\x1b[?1049h" in shown.getvalue()
    assert shown.getvalue().endswith("\x1b[?1049l")


def test_watching_into_a_file_writes_one_below_the_other() -> None:
    shown = io.StringIO()
    watched(Console(file=shown, width=20), "2 servers", "a line that is longer than twenty")

    assert shown.getvalue() == "2 servers\n\na line that is longer than twenty\n\n"


def test_the_text_of_everything_obeys_nobody() -> None:
    evil = container("server", detail="\x1b[2Jgone", started_at=moment(0), ports=((8080, 9080),))
    console = Console(file=io.StringIO(), width=90, height=24)

    text = status.overview_text(overview(evil, state=STATE), console, fitting=True).plain

    assert "[2Jgone" in text
    assert "\x1b" not in text
    assert "model     a/b: 1 of 4 blocks on 1 server, missing 0-1, 3" in text
