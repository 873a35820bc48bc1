"""How nodes get in, and every reason why one does not."""

import pytest

from services.authority.errors import TooManyAttempts
from services.common.errors import Broken, InvalidInput, Refused
from services.common.settings import AuthoritySettings
from services.common.token import JoinToken
from tests.unit.authority.authority_fakes import START, Clock, FakeSigner, Pool, bearer, public_key, says


def test_a_node_gets_an_address_a_certificate_and_the_way_to_the_others(pool: Pool) -> None:
    seed = pool.enrol("seed", pool.token("worker"))
    pool.authority.settings.authority_peers_file.write_text(
        "/ip4/10.77.0.1/tcp/1/p2p/a\n/ip4/10.77.0.1/tcp/2/p2p/b\n"
    )

    node = pool.enrol("alice")

    assert (node.name, node.address) == ("alice", "10.77.0.2/16")
    assert says(node.certificate) == {
        "issuer": says(seed.certificate)["issuer"],
        "key": public_key(),
        "name": "alice",
        "address": "10.77.0.2/16",
        "groups": ["member", "worker"],
        "from": START,
        "until": START + 24 * 3600,
    }
    assert (node.expires_at, node.renew_at) == (START + 24 * 3600, START + 16 * 3600)
    assert node.view.ca == pool.authority.authorities.bundle(START)
    assert node.view.initial_peers == ["/ip4/10.77.0.1/tcp/1/p2p/a", "/ip4/10.77.0.1/tcp/2/p2p/b"]
    assert (node.view.lease_seconds, node.view.server_time) == (60, START)
    assert node.view.blocklist == []


def test_roles_become_groups(pool: Pool) -> None:
    pool.owner.seed_token(pool.authority.settings.seed_token_file)
    seed = JoinToken.parse(pool.authority.settings.seed_token_file.read_text())

    assert says(pool.enrol("s", seed).certificate)["groups"] == ["seed"]
    assert says(pool.enrol("u", pool.token("user")).certificate)["groups"] == ["member", "user"]


def test_seeds_are_the_lighthouses(pool: Pool) -> None:
    pool.owner.seed_token(pool.authority.settings.seed_token_file)
    pool.enrol("s", JoinToken.parse(pool.authority.settings.seed_token_file.read_text()))

    (lighthouse,) = pool.enrol("alice").view.lighthouses

    assert (lighthouse.address, lighthouse.endpoints) == ("10.77.0.1", ["seed.example:4242"])


def test_a_wrong_secret_and_an_unknown_token_are_told_the_same(pool: Pool, clock: Clock) -> None:
    token = pool.token()
    wrong = JoinToken(token.pool, token.authority, token.pin, token.id, "x" * 43)
    unknown = JoinToken(token.pool, token.authority, token.pin, "ffffffffffff", token.secret)
    messages = set()
    for guess in (wrong, unknown):
        with pytest.raises(Refused) as caught:
            pool.enrol("alice", guess)
        messages.add(str(caught.value))
        clock.pass_by(10)

    assert messages == {"enrolling: no such token, or its secret is wrong — copy the whole token again"}


def test_wrong_secrets_are_slowed_down_and_the_right_one_with_them(pool: Pool, clock: Clock) -> None:
    token = pool.token()
    wrong = JoinToken(token.pool, token.authority, token.pin, token.id, "x" * 43)
    with pytest.raises(Refused, match="its secret is wrong"):
        pool.enrol("alice", wrong)

    with pytest.raises(TooManyAttempts, match="try again in 1 s"):
        pool.enrol("alice", token)
    assert pool.enrol("bob", token, source="192.0.2.2").name == "bob"
    clock.pass_by(1)
    assert pool.enrol("alice", token).name == "alice"


def test_an_expired_token_says_when_it_expired(pool: Pool, clock: Clock) -> None:
    token = pool.token(ttl=60)
    clock.pass_by(60)

    with pytest.raises(Refused, match="expired at 2027-01-15 08:01:00 UTC"):
        pool.enrol("alice", token)


def test_a_used_up_token_is_refused(pool: Pool) -> None:
    token = pool.token(uses=1)
    pool.enrol("alice", token)

    with pytest.raises(Refused, match="used up, once"):
        pool.enrol("bob", token)


def test_a_revoked_token_is_refused_and_its_nodes_stay(pool: Pool) -> None:
    token = pool.token()
    alice = pool.enrol("alice", token)
    pool.owner.revoke_token(token.id)

    with pytest.raises(Refused, match="was revoked"):
        pool.enrol("bob", token)
    assert pool.heartbeat(alice).renew is False


def test_two_nodes_cannot_have_one_name(pool: Pool) -> None:
    pool.heartbeat(pool.enrol("alice", key=1))

    with pytest.raises(Refused, match="a node named alice is in the pool already — choose another name"):
        pool.enrol("alice", key=2)


def test_a_name_is_free_once_its_owner_left(pool: Pool) -> None:
    first = pool.enrol("alice", key=1)
    pool.members.leave(bearer(first))

    assert pool.enrol("alice", key=2).address == first.address


def test_a_name_is_free_once_its_owner_s_lease_is_over(pool: Pool, clock: Clock) -> None:
    first = pool.enrol("alice", key=1)
    pool.heartbeat(first)
    clock.pass_by(60)

    second = pool.enrol("alice", key=2)

    with pytest.raises(Refused, match="another node took its place — join the pool again"):
        pool.heartbeat(first)
    assert len(pool.heartbeat(second).view.blocklist) == 1


def test_who_may_join_as_a_worker_gets_not_the_place_of_a_seed_that_restarts(
    pool: Pool, clock: Clock
) -> None:
    pool.owner.seed_token(pool.authority.settings.seed_token_file)
    pool.enrol("s", JoinToken.parse(pool.authority.settings.seed_token_file.read_text()))
    clock.pass_by(3600)

    with pytest.raises(Refused, match="named s is in the pool already"):
        pool.enrol("s", key=2)


def test_a_lost_answer_can_be_asked_for_again(pool: Pool) -> None:
    token = pool.token(uses=1)
    lost = pool.enrol("alice", token)
    again = pool.enrol("alice", token)

    assert (again.node_id, again.address) == (lost.node_id, lost.address)
    assert again.credential != lost.credential
    pool.heartbeat(again)
    with pytest.raises(Refused, match="used up"):
        pool.enrol("alice", token)


def test_only_the_same_key_gets_a_lost_answer_again(pool: Pool) -> None:
    token = pool.token(uses=1)
    pool.enrol("alice", token, key=1)

    with pytest.raises(Refused, match="used up"):
        pool.enrol("alice", token, key=2)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "nonsense",
        public_key().replace("X25519", "ED25519"),
        public_key().replace("AAAA", ""),
        "-----\n\n\n",
    ],
)
def test_something_else_than_a_public_key_is_the_caller_s_mistake(pool: Pool, key: str) -> None:
    token = pool.token()

    with pytest.raises(InvalidInput, match="public_key is no X25519 public key"):
        pool.members.renew("x.y", key)
    assert pool.owner.check_token(token.text())["used"] == 0


def test_a_failure_leaves_nothing_behind(pool: Pool, signer: FakeSigner) -> None:
    token = pool.token(uses=1)
    signer.fails = True
    with pytest.raises(Broken, match="nebula-cert"):
        pool.enrol("alice", token)
    signer.fails = False

    assert pool.owner.nodes() == []
    assert pool.owner.check_token(token.text())["used"] == 0
    assert pool.enrol("alice", token).address == "10.77.0.1/16"


class TestSmallNetwork:
    """A pool with room for two."""

    @pytest.fixture
    def settings(self, settings: AuthoritySettings) -> AuthoritySettings:
        return settings.model_copy(
            update={"mesh_network": AuthoritySettings.load(mesh_network="10.9.0.0/30").mesh_network}
        )

    def test_no_address_left_is_said(self, pool: Pool) -> None:
        token = pool.token()
        pool.enrol("a", token)
        pool.enrol("b", token)

        with pytest.raises(Refused, match=r"every address of 10\.9\.0\.0/30 is taken"):
            pool.enrol("c", token)
        assert pool.owner.check_token(token.text())["used"] == 2

    def test_the_address_of_a_gone_node_waits_for_its_certificate_to_end(
        self, pool: Pool, clock: Clock
    ) -> None:
        token = pool.token(ttl=10**6)
        gone = pool.enrol("a", token)
        stays = pool.enrol("b", token)
        clock.pass_by(23 * 3600)
        pool.members.renew(bearer(stays), public_key())
        with pytest.raises(Refused, match="every address"):
            pool.enrol("c", token)

        clock.pass_by(3600)
        assert pool.enrol("c", token).address == gone.address
        with pytest.raises(Refused, match="its address was given to another node"):
            pool.heartbeat(gone)

    def test_the_address_of_a_revoked_node_waits_for_its_lease_to_end(self, pool: Pool, clock: Clock) -> None:
        token = pool.token()
        pool.enrol("a", token)
        revoked = pool.enrol("b", token)
        pool.owner.revoke_node("b", "stolen")
        with pytest.raises(Refused, match="every address"):
            pool.enrol("c", token)

        clock.pass_by(60)
        assert pool.enrol("c", token).address == revoked.address
        assert pool.states()["b"] == "revoked"

    def test_an_address_that_was_left_is_free_at_once(self, pool: Pool) -> None:
        pool.enrol("a")
        leaves = pool.enrol("b")
        pool.members.leave(bearer(leaves))

        assert pool.enrol("c").address == leaves.address
