"""What a node says of its ways to the others."""

from ipaddress import IPv4Address

from services.common.errors import Unavailable
from services.common.node_report import PeerReport
from services.vpn.authority_client import Peer
from services.vpn.console import Tunnel
from services.vpn.report import Sources, make_report
from tests.unit.vpn.members import member

SEED, CELLAR, LOFT = (IPv4Address(f"10.77.0.{number}") for number in (1, 6, 7))


def tunnel(
    address: IPv4Address, name: str, endpoint: str | None = None, relay: IPv4Address | None = None
) -> Tunnel:
    return Tunnel(name=name, address=address, endpoint=endpoint, relays=[relay] if relay else [])


def peer(address: IPv4Address, name: str, state: str = "running") -> Peer:
    return Peer(name=name, address=address, role="worker", state=state)


TUNNELS = [tunnel(CELLAR, "cellar", relay=SEED), tunnel(SEED, "seed", endpoint="203.0.113.7:4242")]
EVERYBODY = [
    peer(SEED, "seed"),
    peer(member().address.ip, "attic"),
    peer(CELLAR, "cellar", "paused"),
    peer(LOFT, "loft", "gone"),
]


def sources(**changes: object) -> Sources:
    given = {
        "verdict": lambda: (True, "good"),
        "tunnels": lambda: TUNNELS,
        "echo": {SEED: 0.5, CELLAR: 1.5}.get,
    }
    return Sources(**(given | changes))  # type: ignore[arg-type]


def test_it_tells_direct_ways_from_relayed_ones() -> None:
    report = make_report(member(), sources())

    assert report.peers == [
        PeerReport("seed", "10.77.0.1", "direct", "203.0.113.7:4242"),
        PeerReport("cellar", "10.77.0.6", "relayed", "seed"),
    ]
    assert (report.healthy, report.detail, report.seen, report.problems) == (True, "good", None, [])


def test_a_probe_asks_everybody_but_itself() -> None:
    report = make_report(member(), sources(peers=lambda: EVERYBODY))

    assert report.peers == [
        PeerReport("seed", "10.77.0.1", "direct", "203.0.113.7:4242", "running", 0.5),
        PeerReport("cellar", "10.77.0.6", "relayed", "seed", "paused", 1.5),
        PeerReport("loft", "10.77.0.7", "none", "", "gone", None),
    ]
    assert report.seen


def test_a_node_that_the_authority_misses_is_told_so() -> None:
    gone = [peer(member().address.ip, "attic", "gone")]

    assert make_report(member(), sources(peers=lambda: gone)).seen is False


def test_without_the_authority_a_probe_asks_those_that_have_a_tunnel() -> None:
    def silent() -> list[Peer]:
        raise Unavailable("the authority does not answer", "check the seed")

    report = make_report(member(), sources(peers=silent))

    assert [(one.name, one.milliseconds) for one in report.peers] == [("seed", 0.5), ("cellar", 1.5)]
    assert report.problems == ["the authority does not answer — check the seed"]


def test_who_does_not_answer_is_a_problem_and_no_end() -> None:
    def silent() -> list[Peer]:
        raise Unavailable("the authority does not answer", "check the seed")

    def down() -> list[Tunnel]:
        raise Unavailable("Nebula does not run")

    report = make_report(member(), sources(peers=silent, tunnels=down))

    assert report.problems == ["the authority does not answer — check the seed", "Nebula does not run"]
    assert report.peers == []
    assert report.seen is None
