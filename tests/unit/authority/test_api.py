"""The authority over HTTP: what each answer and each error looks like to a node."""

import asyncio

import pytest
from fastapi.testclient import TestClient

from services.authority.app import create_app
from services.authority.body_limit import MAX_BYTES, BodyLimit
from services.common.token import JoinToken
from tests.unit.authority.authority_fakes import START, Clock, FakeSigner, Pool, public_key

ROUTES = ("/v1/enrol", "/v1/heartbeat", "/v1/renew", "/v1/leave", "/v1/peers")


@pytest.fixture
def client(pool: Pool) -> TestClient:
    return TestClient(create_app(pool.members), raise_server_exceptions=False)


def application(token: JoinToken, **changes: object) -> dict[str, object]:
    body = {"token_id": token.id, "secret": token.secret, "name": "alice", "public_key": public_key()}
    return {**body, **changes}


def enrolled(client: TestClient, pool: Pool) -> tuple[dict, dict[str, str]]:
    """Return the answer to a new node, and the header that it shows from then on."""
    answer = client.post("/v1/enrol", json=application(pool.token())).json()
    return answer, {"Authorization": f"Bearer {answer['node_id']}.{answer['credential']}"}


def test_a_life_in_the_pool(client: TestClient, pool: Pool) -> None:
    answer, me = enrolled(client, pool)
    assert answer == {
        "node_id": answer["node_id"],
        "name": "alice",
        "role": "worker",
        "address": "10.77.0.1/16",
        "certificate": answer["certificate"],
        "ca": pool.authority.authorities.bundle(START),
        "ca_expires_at": START + 3650 * 24 * 3600,
        "credential": answer["credential"],
        "lighthouses": [],
        "initial_peers": [],
        "endpoint_nodes": [],
        "blocklist": [],
        "expires_at": START + 24 * 3600,
        "renew_at": START + 16 * 3600,
        "lease_seconds": 60,
        "server_time": START,
    }

    beat = client.post("/v1/heartbeat", json={"state": "paused", "model": "m", "blocks": "0:15"}, headers=me)
    assert beat.json() == {
        "ca": answer["ca"],
        "ca_expires_at": answer["ca_expires_at"],
        "lighthouses": [],
        "initial_peers": [],
        "endpoint_nodes": [],
        "blocklist": [],
        "renew": False,
        "expires_at": answer["expires_at"],
        "lease_seconds": 60,
        "server_time": START,
    }
    renewed = client.post("/v1/renew", json={"public_key": public_key(3)}, headers=me)
    assert renewed.json().keys() == {"certificate", "ca", "expires_at", "renew_at"}
    peers = client.post("/v1/peers", headers=me)
    assert peers.json() == {
        "peers": [{"name": "alice", "address": "10.77.0.1", "role": "worker", "state": "paused"}]
    }
    assert client.post("/v1/leave", headers=me).json() == {}
    gone = client.post("/v1/leave", headers=me)
    assert (gone.status_code, gone.json().keys()) == (403, {"error"})


def test_wrong_secrets_are_403_and_then_429_with_when_to_come_back(client: TestClient, pool: Pool) -> None:
    token = pool.token()
    first = client.post("/v1/enrol", json=application(token, secret="wrong"))
    second = client.post("/v1/enrol", json=application(token))

    assert (first.status_code, second.status_code) == (403, 429)
    assert second.headers["retry-after"] == "1"
    assert second.json()["error"] == "enrolling: wrong secrets came from this address — try again in 1 s"


def test_nobody_chooses_the_address_that_is_counted(client: TestClient, pool: Pool) -> None:
    token = pool.token()
    for number in range(2):
        headers = {"X-Forwarded-For": f"192.0.2.{number}", "Forwarded": f"for=192.0.2.{number}"}
        last = client.post("/v1/enrol", json=application(token, secret="wrong"), headers=headers)

    assert last.status_code == 429


@pytest.mark.parametrize(
    ("changes", "status", "line"),
    [
        ({"name": ""}, 422, "name: String should match pattern"),
        ({"name": "-rf"}, 422, "name: String should match pattern"),
        ({"name": "a b"}, 422, "name: String should match pattern"),
        ({"name": "a\n"}, 422, "name: String should match pattern"),
        ({"name": "x" * 64}, 422, "name: String should match pattern"),
        ({"secret": None}, 422, "secret: Input should be a valid string"),
        ({"public_key": "x"}, 400, "public_key is no X25519 public key of Nebula"),
    ],
)
def test_a_caller_s_mistake_is_named(
    client: TestClient, pool: Pool, changes: dict[str, object], status: int, line: str
) -> None:
    answer = client.post("/v1/enrol", json=application(pool.token(), **changes))

    assert (answer.status_code, answer.json().keys()) == (status, {"error"})
    assert answer.json()["error"].startswith(line)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"7", b'"x"', b"\xff\xfe"])
@pytest.mark.parametrize("path", ["/v1/enrol", "/v1/heartbeat", "/v1/renew"])
def test_what_is_no_object_is_refused_in_one_line(client: TestClient, path: str, content: bytes) -> None:
    answer = client.post(path, content=content, headers={"Content-Type": "application/json"})

    assert answer.status_code in {400, 422}
    assert len(answer.json()["error"].splitlines()) == 1


def test_no_answer_repeats_a_secret(client: TestClient, pool: Pool) -> None:
    secret = "s3cret-word"
    for changes in ({"secret": secret}, {"secret": [secret]}, {"secret": secret * 200}, {"name": None}):
        body = {**application(pool.token(), secret=secret), **changes}
        assert secret not in client.post("/v1/enrol", json=body).text


def test_without_a_credential_one_is_asked_for(client: TestClient) -> None:
    for headers in ({}, {"Authorization": ""}, {"Authorization": "Basic eDp5"}):
        answer = client.post("/v1/leave", headers=headers)
        assert (answer.status_code, answer.json()["error"][:29]) == (403, "the request names no node — s")


@pytest.mark.parametrize("path", ROUTES)
def test_a_body_over_the_limit_is_not_read(client: TestClient, path: str) -> None:
    answer = client.post(path, content=b" " * (MAX_BYTES + 1))

    assert (answer.status_code, answer.json()) == (
        413,
        {"error": f"the request's body has more than {MAX_BYTES} bytes"},
    )


async def test_a_body_that_does_not_end_is_answered() -> None:
    sent = []

    async def never(*_: object) -> None:
        raise AssertionError("the application must not see it")

    async def receive() -> dict[str, object]:
        await asyncio.Event().wait()  # a client that sends nothing more
        return {}

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/v1/enrol", "headers": []}
    await BodyLimit(never, max_seconds=0.0)(scope, receive, send)

    assert sent[0]["status"] == 400
    assert b"does not end" in sent[1]["body"]


@pytest.mark.parametrize("path", ["/", "/docs", "/redoc", "/openapi.json", "/v1/tokens", "/v1/nodes"])
def test_there_is_nothing_else_and_no_way_to_administer(client: TestClient, path: str) -> None:
    answer = client.get(path)

    assert (answer.status_code, answer.json()) == (404, {"error": "Not Found"})


def test_another_method_is_said(client: TestClient) -> None:
    answer = client.get("/v1/enrol")

    assert (answer.status_code, answer.json()) == (405, {"error": "Method Not Allowed"})


def test_a_broken_signer_is_ours_and_leaves_no_trace_in_the_answer(
    client: TestClient, pool: Pool, signer: FakeSigner
) -> None:
    signer.fails = True
    answer = client.post("/v1/enrol", json=application(pool.token()))

    assert (answer.status_code, answer.json()) == (500, {"error": "running nebula-cert sign: no"})


def test_what_nobody_expected_is_one_line_without_its_message(
    client: TestClient, pool: Pool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def explode(_: str) -> None:
        raise RuntimeError("a secret")

    monkeypatch.setattr(pool.members, "leave", explode)
    answer = client.post("/v1/leave", headers={"Authorization": "Bearer a.b"})

    assert answer.status_code == 500
    assert answer.json()["error"].startswith("the authority failed unexpectedly (RuntimeError)")
    assert "a secret" not in answer.text
    (record,) = [record for record in caplog.records if record.name == "authority"]
    assert record.where.startswith(f"{__file__}:")


def test_health_says_whether_nodes_can_enrol(client: TestClient, clock: Clock) -> None:
    good = client.get("/healthz")
    assert (good.status_code, good.text) == (200, "ready to enrol nodes\n")

    clock.pass_by(3650 * 86400)
    bad = client.get("/healthz")
    assert (bad.status_code, bad.json()["error"][:47]) == (
        503,
        "the mesh's certificate authority has expired — ",
    )
