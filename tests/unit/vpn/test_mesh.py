"""The tunnel's life, with Nebula and the authority played by the tests."""

import json
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from services.common.errors import Broken, CalyxError, Refused, Unavailable
from services.vpn.authority_client import Certificate, PutOut
from services.vpn.membership import CERTIFICATE, PUBLIC_KEY, Membership, Standing, StateFolder
from services.vpn.mesh import (
    ECHO_LIFETIME,
    HEARTBEAT_PERIOD,
    NEBULA_CONFIG,
    PROXY_CONFIG,
    MeshTunnel,
    Outside,
    PoolFiles,
)
from services.vpn.nebula_config import Mode
from tests.unit.vpn.members import PLACE, member


class FakeProgram:
    """Remembers what was asked of a program."""

    def __init__(self, command: list[str]) -> None:
        self.command = command
        self.runs = False
        self.reloads = 0

    def ensure(self) -> bool:
        started, self.runs = not self.runs, True
        return started

    def reload(self) -> None:
        self.reloads += 1

    def end(self) -> None:
        self.runs = False


class FakeAuthority:
    """Says what the test has prepared; the standing is that of the membership unless changed."""

    def __init__(self) -> None:
        self.changes: dict[str, Any] = {}
        self.problem: CalyxError | None = None
        self.heartbeats: list[str] = []
        self.endpoints: list[bool] = []
        self.renewed_with: list[str] = []

    def heartbeat(self, _: Membership, state: str, *, endpoint: bool) -> Standing:
        self.heartbeats.append(state)
        self.endpoints.append(endpoint)
        if self.problem is not None:
            raise self.problem
        return Standing.model_validate(PLACE | self.changes)

    def renew(self, _: Membership, public_key: str) -> Certificate:
        self.renewed_with.append(public_key)
        return Certificate(certificate="a new certificate", ca=PLACE["ca"], expires_at=2_100_000_000.0)


class Node:
    """A tunnel with everything around it."""

    def __init__(self, folder: Path, mode: Mode = "member", *, own_endpoint: bool = False) -> None:
        self.folder = StateFolder(folder)
        self.folder.write(PUBLIC_KEY, "the public key")
        self.announce_host, self.initial_peers = folder / "announce_host", folder / "initial_peers"
        self.certificates = folder / "certificates.json"
        self.authority = FakeAuthority()
        self.programs: list[FakeProgram] = []
        self.now = 1000.0
        self.state = "running"
        self.milliseconds: float | None = 0.5
        self.enrol: Callable[[], Membership] = member
        self.tunnel = MeshTunnel(
            mode,
            self.folder,
            PoolFiles(
                self.announce_host,
                self.initial_peers if mode == "member" else None,
                self.certificates,
            ),
            enrol=self._enrol,
            state=lambda: self.state,
            own_endpoint=own_endpoint,
            outside=Outside(
                connect=lambda _: self.authority,  # type: ignore[arg-type, return-value]
                clock=lambda: self.now,
                echo=self._echo,
                program=self._program,  # type: ignore[arg-type]
                console_key=lambda _: "ssh-ed25519 AAAA console",
            ),
        )

    def _enrol(self) -> Membership:
        return self.enrol()

    def _echo(self, _: IPv4Address) -> float | None:
        return self.milliseconds

    def _program(self, command: list[str]) -> FakeProgram:
        self.programs.append(FakeProgram(command))
        return self.programs[-1]

    @property
    def nebula(self) -> FakeProgram:
        return next(program for program in self.programs if program.command[0] == "nebula")

    @property
    def proxy(self) -> FakeProgram:
        return next(program for program in self.programs if program.command[0] == "haproxy")

    def check_later(self) -> str:
        self.now += HEARTBEAT_PERIOD
        return self.tunnel.check()

    def proxy_config(self) -> str:
        return (self.folder.path / PROXY_CONFIG).read_text()

    def nebula_config(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads((self.folder.path / NEBULA_CONFIG).read_text())
        return document


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_a_member_runs_nebula_and_tells_its_neighbours_where_they_are(node: Node) -> None:
    line = node.tunnel.check()

    assert line == "member 10.77.0.5 of pool home: lighthouse 10.77.0.1 answers in 0.5 ms"
    assert node.nebula.runs
    assert node.proxy.runs
    assert node.announce_host.read_text() == "10.77.0.5\n"
    assert node.initial_peers.read_text() == "/ip4/10.77.0.1/tcp/31330/p2p/QmSeed\n"
    assert node.folder.load() == member()
    assert json.loads(node.certificates.read_text()) == {
        "node": 2_000_000_000.0,
        "authority": 2_300_000_000.0,
    }


def test_the_seed_leaves_the_peers_to_its_bootstrap_peer_and_its_ports_to_its_rooms(tmp_path: Path) -> None:
    seed = Node(tmp_path, "lighthouse")
    seed.milliseconds = None

    assert seed.tunnel.check() == "lighthouse 10.77.0.5 of pool home"
    assert not seed.initial_peers.exists()
    assert not seed.proxy.runs


def test_a_node_that_is_known_does_not_enrol_again(node: Node) -> None:
    node.folder.save(member(name="cellar"))
    node.enrol = lambda: pytest.fail("enrolled again")

    node.tunnel.check()

    assert node.folder.load() == member(name="cellar")


def test_enrolling_is_tried_again(node: Node) -> None:
    def unreachable() -> Membership:
        raise Unavailable("nobody there")

    node.enrol = unreachable
    with pytest.raises(Unavailable, match="nobody there"):
        node.tunnel.check()
    assert not node.nebula.runs

    node.enrol = member
    assert "answers" in node.tunnel.check()


def test_the_authority_is_asked_now_and_then_and_hears_what_the_node_does(node: Node) -> None:
    node.tunnel.check()
    node.tunnel.check()
    assert node.authority.heartbeats == ["running"]

    node.check_later()
    assert node.authority.heartbeats == ["running", "running"]


def test_what_a_node_does_is_told_as_soon_as_it_changes(node: Node) -> None:
    node.state = "paused"
    node.tunnel.check()
    node.now += 1.0
    node.state = "running"
    node.tunnel.check()
    node.tunnel.check()

    assert node.authority.heartbeats == ["paused", "running"]


def test_a_revocation_reaches_nebula(node: Node) -> None:
    node.tunnel.check()
    assert node.nebula.reloads == 0

    node.authority.changes = {"blocklist": ["a fingerprint"]}
    node.check_later()

    assert node.nebula_config()["pki"]["blocklist"] == ["a fingerprint"]
    assert node.nebula.reloads == 1


def test_a_node_that_was_off_knows_who_was_revoked_before_its_tunnel_begins(node: Node) -> None:
    node.folder.save(member())
    node.authority.changes = {"blocklist": ["a fingerprint"]}
    blocked: list[list[str]] = []
    start = node.nebula.ensure

    def ensure() -> bool:
        blocked.append(node.nebula_config()["pki"]["blocklist"])
        return start()

    node.nebula.ensure = ensure  # type: ignore[method-assign]
    node.tunnel.check()

    assert blocked == [["a fingerprint"]]


def test_a_node_that_was_put_out_ends_its_tunnel(node: Node) -> None:
    node.tunnel.check()
    node.authority.problem = PutOut("this node was revoked")

    with pytest.raises(PutOut, match="revoked"):
        node.check_later()
    assert not node.nebula.runs
    assert not node.proxy.runs

    with pytest.raises(PutOut, match="revoked"):  # nor does it come back by itself
        node.tunnel.check()
    assert not node.nebula.runs


@pytest.mark.parametrize(
    "problem",
    [
        Unavailable("the authority does not answer"),
        Refused("somebody sits in between"),
        Broken("it is no authority of Calyx"),
    ],
)
def test_without_the_authority_a_member_goes_on(node: Node, problem: CalyxError) -> None:
    node.tunnel.check()
    node.authority.problem = problem

    assert "answers" in node.check_later()
    assert node.nebula.runs


def test_a_member_turns_to_endpoints_as_the_authority_names_them(node: Node) -> None:
    node.tunnel.check()
    assert node.proxy.reloads == 0

    node.authority.changes = {"endpoint_nodes": ["10.77.0.9"]}
    node.check_later()
    assert "10.77.0.9:18000" in node.proxy_config()
    assert node.proxy.reloads == 1

    node.authority.changes |= {"blocklist": ["a fingerprint"]}  # which is no business of the proxy's
    node.check_later()
    assert node.proxy.reloads == 1


def test_a_member_knows_endpoints_before_it_reaches_the_authority_again(node: Node, tmp_path: Path) -> None:
    node.authority.changes = {"endpoint_nodes": ["10.77.0.9"]}
    node.tunnel.check()

    again = Node(tmp_path)
    again.authority.problem = Unavailable("the authority does not answer")
    again.tunnel.check()

    assert "10.77.0.9:18000" in again.proxy_config()


def test_a_member_says_that_it_runs_an_endpoint_asks_it_and_opens_it_to_members(tmp_path: Path) -> None:
    node = Node(tmp_path, own_endpoint=True)
    node.tunnel.check()

    assert node.authority.endpoints == [True]
    assert "127.0.0.1:18000" in node.proxy_config()
    rules = node.nebula_config()["firewall"]["inbound"]
    assert {"port": 18000, "proto": "tcp", "group": "member"} in rules


def test_a_certificate_is_renewed_for_the_same_key_when_the_authority_says_so(node: Node) -> None:
    node.authority.changes = {"renew": True}
    node.tunnel.check()
    node.authority.changes = {}

    assert node.authority.renewed_with == ["the public key"]
    assert node.folder.read(CERTIFICATE) == "a new certificate"
    assert node.nebula.reloads == 1


def test_a_tunnel_counts_as_down_when_the_lighthouse_is_silent_for_long(node: Node) -> None:
    node.tunnel.check()
    node.milliseconds = None
    node.now += ECHO_LIFETIME - 1
    assert "answered 29 s ago" in node.tunnel.check()

    node.now += 1
    with pytest.raises(Unavailable, match="no lighthouse has answered"):
        node.tunnel.check()
    assert node.nebula.runs  # it looks for the lighthouse on its own
