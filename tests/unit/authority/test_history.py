"""What is remembered has an end: the pool's last events and nodes, and never less than safety needs."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from services.authority.nodes import Node
from services.authority.store import KEPT_EVENTS, KEPT_NODES, Store
from services.common.errors import Refused
from tests.unit.authority.authority_fakes import START, Clock, Pool, bearer, public_key

LIFETIME = 24 * 3600


@pytest.fixture
def store(pool: Pool) -> Iterator[Store]:
    with pool.authority.database.write() as store:
        yield store


def stored(pool: Pool, node_id: str) -> Node:
    with pool.authority.database.read() as store:
        found = store.node(node_id)
    assert found is not None
    return found


def many_that_left(pool: Pool, model: Node, now: int) -> None:
    """Remember as many nodes that left as there is room for."""
    with pool.authority.database.write() as store:
        for number in range(KEPT_NODES):
            name = f"old{number}"
            store.add_node(replace(model, id=name, name=name, address=None, joined_at=now, left_at=now))


def test_the_last_events_are_kept(store: Store) -> None:
    for number in range(KEPT_EVENTS + 3):
        store.add_event(number, "renewed", "")
    times = [time for time, _, _ in store.events()]

    assert times == list(range(3, KEPT_EVENTS + 3))


def test_the_last_nodes_that_left_or_were_revoked_are_kept(pool: Pool, clock: Clock) -> None:
    left, revoked, stays = (
        pool.enrol(name, key=key) for key, name in enumerate(("left", "revoked", "stays"))
    )
    pool.members.leave(bearer(left))
    pool.owner.revoke_node("revoked", "x")
    clock.pass_by(LIFETIME)
    many_that_left(pool, stored(pool, stays.node_id), int(clock()))
    assert set(pool.states().values()) == {"gone", "left"}
    pool.enrol("new", key=9)

    assert len(pool.owner.nodes()) == KEPT_NODES + 2
    assert pool.states().keys() >= {"stays", "new", "old0", f"old{KEPT_NODES - 1}"}
    assert pool.states().keys().isdisjoint({"left", "revoked"})
    with pytest.raises(Refused, match="knows no such node"):
        pool.heartbeat(revoked)
    with pool.authority.database.read() as store:
        assert store.newest_certificate(revoked.node_id) is None


def test_a_node_is_remembered_as_long_as_its_certificate_must_be_refused(pool: Pool, clock: Clock) -> None:
    revoked, stays = pool.enrol("revoked", key=1), pool.enrol("stays", key=2)
    pool.owner.revoke_node("revoked", "stolen")
    clock.pass_by(LIFETIME - 1)
    many_that_left(pool, stored(pool, stays.node_id), int(clock()))

    assert len(pool.enrol("new", key=3).view.blocklist) == 1
    with pytest.raises(Refused, match="was revoked: stolen"):
        pool.heartbeat(revoked)
    clock.pass_by(1)
    pool.enrol("newer", key=4)
    assert "revoked" not in pool.states()


def test_a_node_that_is_gone_is_not_forgotten(pool: Pool, clock: Clock) -> None:
    gone = pool.enrol("gone")
    clock.pass_by(1000 * LIFETIME)
    many_that_left(pool, stored(pool, gone.node_id), int(clock()))
    pool.enrol("new", key=2)

    assert pool.heartbeat(gone).renew is True


def test_certificates_that_have_ended_are_not_kept(pool: Pool, clock: Clock) -> None:
    alice = pool.enrol("alice")
    with pool.authority.database.read() as store:
        first = store.newest_certificate(alice.node_id)
    assert first is not None
    clock.pass_by(LIFETIME - 1)
    pool.members.renew(bearer(alice), public_key())
    with pool.authority.database.read() as store:
        assert store.certificate(first.fingerprint) is not None
    clock.pass_by(1)
    pool.members.renew(bearer(alice), public_key())

    with pool.authority.database.read() as store:
        assert store.certificate(first.fingerprint) is None
    assert pool.owner.nodes()[0]["certificate_expires_at"] == START + 2 * LIFETIME
