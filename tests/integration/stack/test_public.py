"""Blocks for a swarm that anybody may enter: a bootstrap peer of this machine plays Petals' own.

The machine that joins has a network of its own, so each side reaches the other by a port that is published, as
through a router that forwards it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.stack.pool import MODEL, Pool, eventually, free_port

THIS_MACHINE = "172.17.0.1"
"""As containers of every network reach it: the address of the engine's default bridge."""


@pytest.fixture(scope="module")
def swarm(first_up: object) -> Iterator[Pool]:
    """A swarm without any server, and a health page that watches it."""
    settings = {"CALYX_ANNOUNCE_HOST": THIS_MACHINE, "CALYX_BOOTSTRAP_PORT": free_port()}
    files = ("compose.yaml", "tests/integration/stack/compose.open.yaml")
    with Pool(settings, files) as pool:
        pool.compose("up", "--wait", "--no-build", "bootstrap", "health")
        yield pool


def stranger(peers: str, state: Path) -> Pool:
    """Return a machine that is in no pool yet, and remembers in ``state`` what it joins."""
    return Pool(
        {
            "CALYX_ANNOUNCE_HOST": THIS_MACHINE,
            "CALYX_INITIAL_PEERS": peers,
            "CALYX_SERVER_PORT": free_port(),
            "XDG_STATE_HOME": state,
        }
    )


@pytest.fixture
def guest(swarm: Pool, tmp_path: Path) -> Iterator[Pool]:
    """A machine that shares two blocks with the swarm."""
    with stranger(" ".join(swarm.read("bootstrap", "/pool/initial_peers").split()), tmp_path) as pool:
        joined = pool.calyx("join", "--public", "--public-name", "guest", "--block-indices", "0:2", "--yes")
        assert joined.code == 0, joined.err
        assert "You are connected to the public swarm" in joined.out
        yield pool


def online(watcher: Pool) -> list[tuple[Any, ...]]:
    """Return model, server and blocks of each server that a health page shows as online."""
    return [
        (model["name"], server["public_name"], server["start_block"], server["end_block"])
        for model in watcher.get(watcher.health, "/api/v2/state").json()["models"]
        for server in model["servers"]
        if server["state"] == "online"
    ]


def test_blocks_are_shared_but_for_a_pause(swarm: Pool, guest: Pool) -> None:
    def is_seen() -> None:
        for watcher in (swarm, guest):
            assert online(watcher) == [(MODEL, "guest", 0, 2)]

    def is_missed() -> None:
        assert online(swarm) == []

    eventually(is_seen)
    assert guest.calyx("pause").code == 0
    eventually(is_missed)
    # Two blocks are no whole model, so the endpoint's state is no part of what resuming waits for
    assert guest.calyx("resume").code == 0
    eventually(is_seen)


def test_who_stops_leaves_nothing(swarm: Pool, guest: Pool) -> None:
    again = guest.calyx("join", "--public", "--yes").error
    assert "in the pool public already" in again

    stopped = guest.calyx("stop", "--purge")

    assert stopped.code == 0, stopped.err
    assert guest.containers() == {}
    assert guest.client.volumes.list(filters={"name": guest.project}) == []
    assert guest.calyx("pause").error.startswith("error: this machine is in no pool")


def test_a_swarm_that_cannot_be_reached_leaves_nothing(swarm: Pool, tmp_path: Path) -> None:
    peer = swarm.read("bootstrap", "/pool/initial_peers").split("/p2p/")[-1].strip()
    nowhere = f"/ip4/{THIS_MACHINE}/tcp/{free_port()}/p2p/{peer}"
    with stranger(nowhere, tmp_path) as pool:
        error = pool.calyx("join", "--public", "--block-indices", "0:2", "--yes").error

        assert f"joining the swarm through {nowhere}" in error
        assert pool.containers() == {}
        assert pool.client.volumes.list(filters={"name": pool.project}) == []
        assert pool.calyx("pause").error.startswith("error: this machine is in no pool")
