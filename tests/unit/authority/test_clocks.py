"""Wrong clocks: tokens, leases and certificates go by the authority's alone, and it tells nodes what it is."""

import pytest
from fastapi.testclient import TestClient

from services.authority.app import create_app
from services.common.errors import Refused
from tests.unit.authority.authority_fakes import START, Clock, Pool, bearer, public_key

DAY = 24 * 3600
TIMES = ("expires_at", "renew_at", "server_time")


@pytest.fixture
def client(pool: Pool) -> TestClient:
    return TestClient(create_app(pool.members), raise_server_exceptions=False)


@pytest.mark.parametrize("wrong", [0, START - 10 * 365 * DAY, START + 10 * 365 * DAY])
def test_what_a_node_says_of_the_time_counts_for_nothing(client: TestClient, pool: Pool, wrong: int) -> None:
    token = pool.token(uses=1)
    claims = {"time": wrong, "now": wrong, "server_time": wrong, "expires_at": wrong, "joined_at": wrong}
    body = {"token_id": token.id, "secret": token.secret, "name": "alice", "public_key": public_key()}
    date = {"Date": "Thu, 01 Jan 1970 00:00:00 GMT"}
    answer = client.post("/v1/enrol", json={**claims, **body}, headers=date).json()
    me = {"Authorization": f"Bearer {answer['node_id']}.{answer['credential']}", **date}
    beat = client.post("/v1/heartbeat", json={**claims, "state": "running"}, headers=me).json()

    assert [answer[name] for name in TIMES] == [START + DAY, START + 2 * DAY // 3, START]
    assert (beat["server_time"], beat["expires_at"], beat["renew"]) == (START, START + DAY, False)
    (node,) = pool.owner.nodes()
    assert (node["joined_at"], node["seen_at"], node["lease_until"]) == (START, START, START + 60)


def test_a_token_that_is_over_here_is_over_whatever_the_time_is_there(client: TestClient, pool: Pool) -> None:
    token = pool.token(ttl=60)
    pool.clock.pass_by(60)
    body = {"token_id": token.id, "secret": token.secret, "name": "alice", "public_key": public_key()}
    answer = client.post("/v1/enrol", json={**body, "time": START}, headers={"Date": "Thu, 01 Jan 1970"})

    assert (answer.status_code, "expired at" in answer.json()["error"]) == (403, True)


def test_a_clock_of_the_authority_that_is_set_back_puts_nobody_out(pool: Pool, clock: Clock) -> None:
    pool.owner.rotate_ca()
    clock.pass_by(3600)
    token = pool.token()
    alice = pool.enrol("alice", token)
    clock.pass_by(-7200)

    assert pool.heartbeat(alice).renew is False
    assert pool.members.renew(bearer(alice), public_key()).expires_at == START - 3600 + DAY
    assert pool.enrol("bob", token, key=2).name == "bob"
    assert pool.states() == {"alice": "running", "bob": "running"}


def test_a_clock_that_was_ahead_for_a_while_did_no_harm(pool: Pool, clock: Clock) -> None:
    token = pool.token()
    alice = pool.enrol("alice", token)
    clock.pass_by(20 * 365 * DAY)
    assert pool.states() == {"alice": "gone"}
    with pytest.raises(Refused, match="expired"):
        pool.enrol("bob", token, key=2)
    clock.pass_by(-20 * 365 * DAY)

    assert pool.states() == {"alice": "running"}
    assert pool.heartbeat(alice).renew is False
    assert pool.enrol("bob", token, key=2).name == "bob"
