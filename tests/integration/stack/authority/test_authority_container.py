"""The authority in its own image, with Nebula's signing program, on SQLite and on a real PostgreSQL."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from services.common.errors import CalyxError, Refused, Unavailable
from services.common.token import JoinToken
from services.vpn.authority_client import PutOut
from tests.integration.stack.authority.conftest import Start
from tests.integration.stack.authority.containers import Authority, Database, Member, heartbeats
from tests.integration.stack.pool import eventually

AT_ONCE = 50
ENROLLED = 1000
# What a pool of this size holds after a while; the last nodes enrol by the ordinary way.
ADD_NODES = """
import json, sys
from services.authority.authority import open_authority
from services.authority.nodes import Node
from services.authority.tokens import hash_of
from services.common.settings import AuthoritySettings
settings = AuthoritySettings.load()
authority = open_authority(settings)
hosts = settings.mesh_network.hosts()
with authority.database.write() as store:
    token = store.tokens()[0].id
    for number in range(COUNT):
        store.add_node(Node(
            id=f"id{number}", name=f"n{number}", role="worker", token_id=token, public_key="",
            credential_hash=hash_of(f"credential{number}"), address=str(next(hosts)), activity="running",
            joined_at=0, lease_until=0,
        ))
print(json.dumps(COUNT))
"""
# Without the token's check, for nothing more can be written.
RECORDS = """
import json
from services.authority.authority import open_authority
from services.common.settings import AuthoritySettings
with open_authority(AuthoritySettings.load()).database.read() as store:
    print(json.dumps({"nodes": sorted(node.name for node in store.nodes()), "used": store.tokens()[0].used}))
"""


@pytest.fixture
def authority(start: Start, database_url: str) -> Authority:
    return start(database_url)


def states(authority: Authority) -> dict[str, str]:
    return {node["name"]: node["state"] for node in authority.ask("nodes", "--json")}


def test_a_life_in_the_pool_over_pinned_tls(authority: Authority) -> None:
    token = authority.token(uses=2)
    alice, bob = (Member.enrol(token, name, key) for key, name in enumerate(("alice", "bob")))
    assert authority.trusts(alice.place.ca, alice.place.certificate)
    assert [str(one.place.address) for one in (alice, bob)] == ["10.77.0.1/16", "10.77.0.2/16"]
    assert alice.heartbeat("paused").renew is False
    renewed = alice.renew(key=7)
    assert renewed.certificate != alice.place.certificate
    assert authority.trusts(renewed.ca, renewed.certificate)

    authority.ask("revoke", "bob", "--reason", "it was stolen")
    with pytest.raises(PutOut, match="the node bob was revoked: it was stolen"):
        bob.heartbeat()
    assert len(alice.heartbeat("paused").blocklist) == 1
    assert states(authority) == {"alice": "paused", "bob": "revoked"}
    alice.leave()
    with pytest.raises(PutOut, match="alice is no longer in the pool: it left"):
        alice.renew()
    with pytest.raises(Refused, match="used up, 2 times"):
        Member.enrol(token, "carol", key=3)
    assert states(authority) == {"alice": "left", "bob": "revoked"}


def test_nothing_is_told_to_who_serves_another_certificate(authority: Authority) -> None:
    token = authority.token()
    other = JoinToken(token.pool, token.authority, "0" * 64, token.id, token.secret)

    with pytest.raises(Refused, match="is not the one that the token names"):
        Member.enrol(other, "alice")
    assert authority.ask("token", "check", token.text())["used"] == 0


def test_fifty_machines_join_at_once(authority: Authority) -> None:
    token = authority.token(uses=AT_ONCE)
    with ThreadPoolExecutor(AT_ONCE) as machines:
        members = list(machines.map(lambda n: Member.enrol(token, f"n{n}", key=n), range(AT_ONCE)))

    assert len({member.place.address for member in members}) == AT_ONCE
    assert len({member.place.certificate for member in members}) == AT_ONCE
    assert authority.ask("token", "list")[0]["used"] == AT_ONCE


def test_a_thousand_nodes_are_answered_and_listed(start: Start, database_url: str) -> None:
    authority = start(database_url, CALYX_LEASE_SECONDS=3600)
    token = authority.token(uses=AT_ONCE)
    added = authority.python(ADD_NODES.replace("COUNT", str(ENROLLED - AT_ONCE)))
    with ThreadPoolExecutor(AT_ONCE) as machines:
        members = list(machines.map(lambda n: Member.enrol(token, f"new{n}", key=n), range(AT_ONCE)))
        assert not any(standing.renew for standing in machines.map(Member.heartbeat, members))
    told = heartbeats(token, [f"id{number}.credential{number}" for number in range(added)])

    assert [answer["lease_seconds"] for answer in told] == [3600] * added
    listed = authority.ask("nodes", "--json")
    assert {node["state"] for node in listed} == {"running"}
    assert len({node["address"] for node in listed}) == ENROLLED


def test_a_new_certificate_authority_signs_once_everybody_trusts_it(start: Start) -> None:
    authority = start(CALYX_LEASE_SECONDS=5)
    alice = Member.enrol(authority.token(), "alice")
    made = authority.ask("rotate-ca")
    meanwhile = alice.heartbeat()
    assert (meanwhile.renew, meanwhile.ca.count("BEGIN")) == (False, 2)

    def is_asked_to_renew() -> None:
        assert alice.heartbeat().renew

    eventually(is_asked_to_renew, 60)
    renewed = alice.renew()
    first = alice.place.ca
    assert made["signs_from"] < made["older_trusted_until"] < made["expires_at"]
    assert not authority.trusts(first, renewed.certificate)
    for certificate in (alice.place.certificate, renewed.certificate):
        assert authority.trusts(meanwhile.ca, certificate)


@pytest.mark.parametrize("way", ["is stopped", "is cut off"])
def test_a_database_that_goes_away_and_comes_back(start: Start, database: Database, way: str) -> None:
    authority = start(database.new_url())
    token = authority.token(uses=2)
    alice = Member.enrol(token, "alice")
    if way == "is stopped":
        away, back = database.stop, database.start
    else:
        away, back = database.cut_off, database.reconnect
    away()
    try:
        for call in (alice.heartbeat, alice.renew, lambda: Member.enrol(token, "bob", key=2)):
            with pytest.raises(Unavailable, match="using the database: "):
                call()
        code, said = authority.container.exec_run(["python3", "-m", "services.authority.probe"])
        assert (code, b"using the database: " in said) == (1, True)
    finally:
        back()

    def is_answered() -> None:
        try:
            alice.heartbeat()
        except CalyxError as error:
            raise AssertionError from error

    eventually(is_answered, 60)
    assert Member.enrol(token, "bob", key=2).place.name == "bob"
    authority.container.reload()
    assert authority.container.attrs["RestartCount"] == 0
    assert b"Traceback" not in authority.container.logs()


def test_a_full_disk_refuses_nodes_and_loses_none(start: Start) -> None:
    authority = start(size="1m")
    token = authority.token(uses=10_000)
    enrolled = []

    def fill() -> None:
        for number in range(10_000):
            enrolled.append(Member.enrol(token, f"n{number}", key=number).place.name)

    with pytest.raises(Unavailable, match="using the database: d"):
        fill()
    assert authority.python(RECORDS) == {"nodes": sorted(enrolled), "used": len(enrolled)}
