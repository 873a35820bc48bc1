"""How nodes stay, renew and leave, and how the owner ends it."""

from dataclasses import replace

import pytest

from services.authority.answers import Peer
from services.authority.errors import UnknownEntry
from services.authority.pool_view import MOST_ENDPOINTS
from services.common.errors import Refused, Unavailable
from tests.unit.authority.authority_fakes import START, Clock, Pool, bearer, public_key, says


def test_a_heartbeat_extends_the_lease(pool: Pool, clock: Clock) -> None:
    alice = pool.enrol("alice")
    clock.pass_by(59)
    pool.heartbeat(alice)
    clock.pass_by(59)

    assert pool.states() == {"alice": "running"}


def test_a_node_whose_lease_is_over_is_gone_and_may_come_back(pool: Pool, clock: Clock) -> None:
    alice = pool.enrol("alice")
    clock.pass_by(60)
    assert pool.states() == {"alice": "gone"}

    pool.heartbeat(alice)
    assert pool.states() == {"alice": "running"}


def test_a_node_says_what_it_does(pool: Pool) -> None:
    pool.members.heartbeat(bearer(pool.enrol("alice")), "paused", "0:15", "some/model")

    (node,) = pool.owner.nodes()
    assert (node["state"], node["blocks"], node["model"]) == ("paused", "0:15", "some/model")


def test_workers_endpoints_are_told_to_everybody_as_long_as_they_are_there(pool: Pool, clock: Clock) -> None:
    alice, bob, carol = pool.enrol("alice"), pool.enrol("bob"), pool.enrol("carol")
    assert pool.runs_endpoint(bob).view.endpoint_nodes == ["10.77.0.2"]
    pool.runs_endpoint(alice)
    assert pool.heartbeat(carol).view.endpoint_nodes == ["10.77.0.1", "10.77.0.2"]
    assert [node["endpoint"] for node in pool.owner.nodes()] == [True, True, False]

    pool.heartbeat(alice)  # which has none any more
    assert pool.heartbeat(carol).view.endpoint_nodes == ["10.77.0.2"]
    pool.owner.revoke_node("bob", "x")
    assert pool.heartbeat(carol).view.endpoint_nodes == []
    pool.runs_endpoint(alice)
    clock.pass_by(60)
    assert pool.heartbeat(carol).view.endpoint_nodes == []


def test_the_endpoint_of_who_may_only_ask_is_nobody_else_s(pool: Pool) -> None:
    visitor = pool.enrol("visitor", pool.token("user"))

    assert pool.runs_endpoint(visitor).view.endpoint_nodes == []


def test_no_more_endpoints_are_told_than_everybody_can_ask_all_the_time(pool: Pool) -> None:
    for number in range(MOST_ENDPOINTS + 1):
        view = pool.runs_endpoint(pool.enrol(f"node-{number}", key=number)).view

    assert len(view.endpoint_nodes) == MOST_ENDPOINTS


def test_an_owner_who_trusts_the_seed_s_endpoint_alone(pool: Pool) -> None:
    settings = pool.authority.settings.model_copy(update={"member_endpoints": False})
    strict = Pool(replace(pool.authority, settings=settings), pool.clock)

    assert strict.runs_endpoint(strict.enrol("alice")).view.endpoint_nodes == []


def test_lists_hold_no_secret(pool: Pool) -> None:
    token = pool.token()
    alice = pool.enrol("alice", token)
    with pool.authority.database.read() as store:
        events = str(store.events())

    shown = str(pool.owner.nodes()) + str(pool.owner.tokens()) + events
    for secret in (alice.credential, token.secret):
        assert secret not in shown
    assert "hash" not in shown


def test_who_is_in_the_pool_is_told_to_members(pool: Pool, clock: Clock) -> None:
    pool.enrol("gone", pool.token("user"))
    clock.pass_by(60)
    alice = pool.enrol("alice", key=1)
    pool.members.leave(bearer(pool.enrol("left", key=2)))
    pool.enrol("revoked", key=3)
    pool.owner.revoke_node("revoked", "x")
    paused = pool.enrol("paused", key=4)
    pool.members.heartbeat(bearer(paused), "paused", None, None)

    assert pool.members.peers(bearer(alice)).peers == [
        Peer("gone", "10.77.0.1", "user", "gone"),
        Peer("alice", "10.77.0.2", "worker", "running"),
        Peer("paused", "10.77.0.4", "worker", "paused"),
    ]
    clock.pass_by(60)
    assert [peer.state for peer in pool.members.peers(bearer(alice)).peers] == ["gone"] * 3


def test_who_is_in_the_pool_is_told_to_nobody_else(pool: Pool) -> None:
    alice = pool.enrol("alice")
    pool.members.leave(bearer(alice))

    for stranger in ("", f"{alice.node_id}.x", bearer(alice)):
        with pytest.raises(Refused):
            pool.members.peers(stranger)


def test_renewing_is_asked_for_after_two_thirds(pool: Pool, clock: Clock) -> None:
    alice = pool.enrol("alice")
    clock.pass_by(16 * 3600 - 1)
    assert pool.heartbeat(alice).renew is False
    clock.pass_by(1)
    assert pool.heartbeat(alice).renew is True

    renewed = pool.members.renew(bearer(alice), public_key(9))

    assert says(renewed.certificate)["key"] == public_key(9)
    assert says(renewed.certificate)["address"] == alice.address
    assert renewed.expires_at == START + 40 * 3600
    answer = pool.heartbeat(alice)
    assert (answer.renew, answer.expires_at, answer.view.blocklist) == (False, renewed.expires_at, [])


def test_renewing_twice_in_a_second_gives_the_same_certificate(pool: Pool) -> None:
    alice = pool.enrol("alice")

    assert pool.members.renew(bearer(alice), public_key()).certificate == alice.certificate


def test_a_certificate_that_was_just_revoked_is_not_handed_out_again(pool: Pool, clock: Clock) -> None:
    pool.members.leave(bearer(pool.enrol("alice")))

    with pytest.raises(Unavailable, match="try again in a second"):
        pool.enrol("alice")
    clock.pass_by(1)
    assert pool.enrol("alice").address == "10.77.0.1/16"


def test_who_leaves_is_blocked_until_the_certificate_ends(pool: Pool, clock: Clock) -> None:
    alice, bob = pool.enrol("alice"), pool.enrol("bob")
    pool.members.leave(bearer(alice))

    assert pool.states() == {"alice": "left", "bob": "running"}
    assert len(pool.heartbeat(bob).view.blocklist) == 1
    clock.pass_by(24 * 3600)
    assert pool.heartbeat(bob).view.blocklist == []
    with pytest.raises(Refused, match="alice is no longer in the pool: it left — join the pool again"):
        pool.heartbeat(alice)


def test_a_revoked_node_is_told_why_and_renews_nothing(pool: Pool) -> None:
    alice, bob = pool.enrol("alice"), pool.enrol("bob")
    pool.owner.revoke_node("alice", "it was stolen")

    for call in (
        lambda: pool.members.renew(bearer(alice), public_key()),
        lambda: pool.heartbeat(alice),
        lambda: pool.members.leave(bearer(alice)),
    ):
        with pytest.raises(Refused, match="the node alice was revoked: it was stolen"):
            call()
    assert len(pool.heartbeat(bob).view.blocklist) == 1
    assert pool.states()["alice"] == "revoked"


def test_revoking_blocks_renewed_certificates_too(pool: Pool, clock: Clock) -> None:
    alice, bob = pool.enrol("alice"), pool.enrol("bob")
    clock.pass_by(10)
    pool.members.renew(bearer(alice), public_key(5))
    pool.owner.revoke_node(alice.node_id, "x")

    assert len(pool.heartbeat(bob).view.blocklist) == 2


def test_a_revoked_name_can_join_again(pool: Pool, clock: Clock) -> None:
    pool.enrol("alice", key=1)
    pool.owner.revoke_node("alice", "x")

    assert pool.enrol("alice", key=2).address == "10.77.0.2/16"


@pytest.mark.parametrize("name", ["nobody", ""])
def test_revoking_somebody_unknown_is_said(pool: Pool, name: str) -> None:
    with pytest.raises(UnknownEntry, match="none in the pool has the name"):
        pool.owner.revoke_node(name, "x")


def test_a_wrong_credential_and_an_unknown_node_are_told_the_same(pool: Pool) -> None:
    alice = pool.enrol("alice")
    messages = set()
    for wrong in (f"{alice.node_id}.x", f"ffff.{alice.credential}", "", ".", f"{alice.node_id}."):
        with pytest.raises(Refused) as caught:
            pool.members.heartbeat(wrong, "running", None, None)
        messages.add(str(caught.value))

    assert len(messages) == 1


def test_what_happened_is_noted(pool: Pool, clock: Clock) -> None:
    alice = pool.enrol("alice")
    clock.pass_by(1)
    pool.members.renew(bearer(alice), public_key())
    pool.owner.revoke_node("alice", "x")

    assert pool.kinds() == ["token created", "enrolled", "renewed", "revoked"]
