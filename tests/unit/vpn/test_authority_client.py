"""The sidecar's side of the authority's protocol, over real TLS."""

import socket
import threading
from collections.abc import Iterator

import pytest

from services.common.errors import Broken, Refused, Unavailable
from services.common.token import JoinToken
from services.vpn.authority_client import AuthorityClient, Peer, PutOut
from tests.unit.vpn.fake_authority import Wire, serving
from tests.unit.vpn.members import PLACE, member

OURS = {"pool", "authority", "pin"}
"""What the token says, and no answer can change."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    with serving(tmp_path_factory.mktemp("authority")) as wire:
        yield wire


@pytest.fixture
def wire(server: Wire) -> Wire:
    server.asked.clear()
    server.answer = 200, {key: value for key, value in PLACE.items() if key not in OURS}
    return server


@pytest.fixture
def client(wire: Wire) -> AuthorityClient:
    return AuthorityClient(wire.address, wire.pin)


def token(wire: Wire) -> JoinToken:
    return JoinToken(pool="home", authority=wire.address, pin=wire.pin, id="t-1", secret="a secret")


def test_a_token_and_a_public_key_give_a_place(client: AuthorityClient, wire: Wire) -> None:
    got = client.enrol(token(wire), "attic", "a public key")

    assert got == member(authority=wire.address, pin=wire.pin)
    assert wire.asked == [
        (
            "/v1/enrol",
            None,
            {"token_id": "t-1", "secret": "a secret", "name": "attic", "public_key": "a public key"},
        )
    ]


def test_a_member_proves_itself_by_its_credential(client: AuthorityClient, wire: Wire) -> None:
    standing = client.heartbeat(member(), "paused", endpoint=True)

    assert standing.lease_seconds == PLACE["lease_seconds"]
    said = {"state": "paused", "endpoint": True}
    assert wire.asked == [("/v1/heartbeat", "Bearer n-5.a credential", said)]


def test_an_authority_that_knows_nothing_of_endpoints_names_none(client: AuthorityClient, wire: Wire) -> None:
    assert "endpoint_nodes" not in wire.answer[1]
    assert client.heartbeat(member(), "running").endpoint_nodes == []


def test_somebody_in_the_middle_learns_nothing(wire: Wire) -> None:
    with pytest.raises(Refused, match="somebody may sit in between — ask for a new token"):
        AuthorityClient(wire.address, "00" * 32).enrol(token(wire), "attic", "a public key")

    assert wire.asked == []


def test_a_refusal_comes_with_the_authority_s_reason(client: AuthorityClient, wire: Wire) -> None:
    wire.answer = 403, {"error": "the token was used up"}

    with pytest.raises(Refused, match="enrolling: the token was used up"):
        client.enrol(token(wire), "attic", "a public key")


def test_only_the_authority_itself_puts_a_member_out(client: AuthorityClient, wire: Wire) -> None:
    wire.answer = 403, {"error": "the node attic was revoked"}
    with pytest.raises(PutOut, match="attic was revoked"):
        client.heartbeat(member(), "running")

    with pytest.raises(Refused) as refusal:
        AuthorityClient(wire.address, "00" * 32).heartbeat(member(), "running")
    assert not isinstance(refusal.value, PutOut)


@pytest.mark.parametrize("status", [429, 503])
def test_an_authority_in_trouble_may_be_asked_again(client: AuthorityClient, wire: Wire, status: int) -> None:
    wire.answer = status, {"error": "the database does not answer"}

    with pytest.raises(Unavailable, match="the database does not answer"):
        client.leave(member())


def test_the_pool_s_nodes_are_asked_for(client: AuthorityClient, wire: Wire) -> None:
    cellar = {"name": "cellar", "address": "10.77.0.6", "role": "worker", "state": "paused"}
    wire.answer = 200, {"peers": [cellar]}

    assert client.peers(member()) == [Peer.model_validate(cellar)]
    assert wire.asked == [("/v1/peers", "Bearer n-5.a credential", {})]


@pytest.mark.parametrize("answer", [b"<html>hello</html>", {"no": "error"}, [1, 2]])
def test_a_stranger_s_answer_is_named(client: AuthorityClient, wire: Wire, answer: object) -> None:
    wire.answer = 404, answer

    with pytest.raises(Broken, match="no authority of Calyx"):
        client.heartbeat(member(), "running")


def test_another_version_s_answer_is_named(client: AuthorityClient, wire: Wire) -> None:
    wire.answer = 200, {"ca": 5}

    with pytest.raises(Broken, match="same version of Calyx"):
        client.heartbeat(member(), "running")


def test_nobody_there_is_said_with_the_address_and_how_long_was_waited() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{reserved.getsockname()[1]}"
        clock = iter([100.0, 105.0])
        with pytest.raises(Unavailable, match=f"authority {address} does not answer, waited 5 s — check"):
            AuthorityClient(address, "00" * 32, clock.__next__).leave(member())


def test_a_service_without_tls_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as plain:
        address = f"127.0.0.1:{plain.getsockname()[1]}"
        client = AuthorityClient(address, "00" * 32)

        def answer() -> None:
            connection, _ = plain.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(Unavailable, match="does not"):
            client.leave(member())
        thread.join()
