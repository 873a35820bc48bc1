"""Parts of a running stack fail: users are told, and what can mend itself does."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from websockets.sync.client import ClientConnection

from services.common.settings import ServerSettings
from tests.integration.stack.pool import MODEL, Pool, eventually

LONG = 4000
"""Tokens of a session that outlives every test here."""


@contextmanager
def answering(pool: Pool) -> Iterator[ClientConnection]:
    """Open a connection in the middle of a long answer that comes token by token."""
    with pool.socket() as websocket:
        for message in (
            {"type": "open_inference_session", "model": MODEL, "max_length": LONG},
            {
                "type": "generate",
                "inputs": "Once upon a time",
                "max_new_tokens": 1,
                "stop_sequence": "never said",
                "repetition_penalty": 1.2,
            },
        ):
            websocket.send(json.dumps(message))
            assert json.loads(websocket.recv(90))["ok"] is True
        yield websocket


def last_message(websocket: ClientConnection) -> dict[str, Any]:
    """Read to the end of an answer, whichever it is."""
    while (message := json.loads(websocket.recv(120)))["ok"] and not message["stop"]:
        pass
    return dict(message)


def test_a_client_that_vanishes_leaves_no_cache_taken(pool: Pool) -> None:
    everything = ServerSettings.model_fields["attn_cache_tokens"].default

    def taken(tokens: int) -> None:
        assert pool.state()["servers"][0]["cache_tokens_left"] == everything - tokens

    eventually(lambda: taken(0))  # sessions of other tests are announced for a while
    with answering(pool) as websocket:
        eventually(lambda: taken(LONG))
        websocket.socket.shutdown(socket.SHUT_RDWR)

    eventually(lambda: taken(0))
    pool.works()


def test_a_server_that_is_killed_ends_the_answer_with_an_error(pool: Pool) -> None:
    server = pool.containers()["server"]
    with answering(pool) as websocket:
        server.kill()
        end = last_message(websocket)
        # The connection outlives its session, and the session's end is told.
        websocket.send(json.dumps({"type": "generate", "inputs": "more", "max_new_tokens": 1}))
        after = json.loads(websocket.recv(60))
    without = pool.post(inputs="The capital of France is", max_new_tokens=3)
    pool.up("--no-build")

    assert end["ok"] is False
    assert MODEL in end["error"]
    assert "open_inference_session" in after["error"]
    assert without["ok"] is False
    assert "0" in without["error"]
    pool.works()


def test_a_server_that_crashes_is_started_again(pool: Pool) -> None:
    server = pool.containers()["server"]
    # As the kernel ends a process when memory is short: everything but the container's init.
    server.exec_run(["python", "-c", "import os; os.kill(-1, 9)"])

    eventually(lambda: _restarted(pool, server.id))
    eventually(pool.works)


@pytest.mark.parametrize("service", ["bootstrap", "endpoint", "health"])
def test_a_service_that_is_restarted_finds_its_pool_again(pool: Pool, service: str) -> None:
    before = pool.starts()

    pool.containers()[service].restart()
    eventually(lambda: _healthy(pool))
    eventually(pool.works)

    after = pool.starts()
    assert [name for name in before if before[name] != after[name]] == [service]
    assert eventually(pool.state)["healthy"] is True


def test_up_mends_what_a_restarted_vpn_left_without_network(pool: Pool) -> None:
    vpn = pool.containers()["vpn"]

    vpn.restart()
    done = pool.up("--no-build")

    assert "server" in done.out
    assert pool.containers()["vpn"].id == vpn.id
    _healthy(pool)
    pool.works()


def test_a_pool_gets_over_a_restarted_vpn_without_help(pool: Pool) -> None:
    before = pool.starts()

    pool.containers()["vpn"].restart()

    eventually(lambda: _started_since(pool, before))
    eventually(pool.works)
    eventually(lambda: _healthy(pool))


def test_a_pool_gets_over_a_vpn_that_is_away_for_a_while(pool: Pool) -> None:
    before = pool.starts()
    vpn = pool.containers()["vpn"]
    stopped_at = int(time.time())
    vpn.stop()
    for name, container in pool.containers().items():
        if name != "vpn":  # each has seen it, and none has ended, for it could not be started then
            eventually(lambda one=container: _waits_for_network(one, stopped_at), 30)

    vpn.start()

    eventually(lambda: _started_since(pool, before))
    eventually(pool.works)
    eventually(lambda: _healthy(pool))


def test_up_mends_what_a_vpn_made_anew_left_without_network(pool: Pool) -> None:
    vpn = pool.containers()["vpn"]

    vpn.remove(force=True)
    pool.up("--no-build")

    assert pool.containers()["vpn"].id != vpn.id
    _healthy(pool)
    pool.works()


def _healthy(pool: Pool) -> None:
    health = {name: c.attrs["State"]["Health"]["Status"] for name, c in pool.containers().items()}
    assert set(health.values()) == {"healthy"}, health


def _restarted(pool: Pool, identity: str) -> None:
    server = pool.containers()["server"]
    assert server.id == identity
    assert server.attrs["RestartCount"] == 1


def _started_since(pool: Pool, before: dict[str, tuple[str, str]]) -> None:
    """Fail unless every container is the one that it was, and was started again."""
    now = pool.starts()
    assert {name: identity for name, (identity, _) in now.items()} == {
        name: identity for name, (identity, _) in before.items()
    }
    assert [name for name in now if now[name] == before[name]] == []


def _waits_for_network(container: Any, since: int) -> None:
    assert b"the node's network is gone" in container.logs(since=since)
    container.reload()
    assert container.status == "running"
