"""SIGTERM: the swarm learns that the server leaves, the exit code is 0, nothing is left behind."""

import socket
import threading
from pathlib import Path

import pytest

from services.common.errors import Unavailable
from services.server.pausing import GRACE_NAME, Grace
from services.swarm.directory import Directory
from tests.swarm_processes import Room, Swarm, free_port, until, until_served
from tests.unit.swarm.fake_hub import fake_hub

STOP_SECONDS = 60
"""A busy machine's share; docker gives 15 seconds, and an idle machine needs 2."""


def can_be_listened_on(port: int) -> bool:
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind(("0.0.0.0", port))
        except OSError:
            return False
        return True


def states(directory: Directory, prefix: str) -> set[str]:
    """Return the states of all servers of a model, as the swarm knows them."""
    return {
        server.state for model in directory.read() if model.dht_prefix == prefix for server in model.servers
    }


def test_a_serving_server_announces_that_it_leaves(swarm: Swarm, model: str) -> None:
    port = free_port()
    server = swarm.serve(model, CALYX_SERVER_PORT=str(port), CALYX_NUM_BLOCKS="4")
    with swarm.client(model) as client:
        until_served(client)
        until(lambda: server.heartbeat.read()[0])

        server.terminate()

        assert server.wait(STOP_SECONDS) == 0
        assert client.missing_blocks() == [0, 1, 2, 3]
        assert server.members() == []
        assert can_be_listened_on(port)
        assert " ERROR " not in server.log
        assert "Traceback" not in server.log


def test_a_server_in_the_middle_of_a_download(swarm: Swarm, model: str, models: Path) -> None:
    directory = Directory(swarm.initial_peers)
    with fake_hub(model, models / "tiny" / "llama-sharded") as hub:
        hub.stalled = threading.Event()
        server = swarm.serve(
            model, "0:2", HF_HUB_OFFLINE="0", HF_ENDPOINT=hub.url, CALYX_MODELS_DIR=str(swarm.cache)
        )
        prefix = f"{model.split('/')[1]}-hf"
        until(lambda: states(directory, prefix) == {"joining"})

        server.terminate()

        assert server.wait(STOP_SECONDS) == 0
        assert states(directory, prefix) == {"offline"}
        assert server.members() == []
        assert "stopped before all blocks were loaded" in server.log
        assert "Traceback" not in server.log
    directory.close()


def test_a_server_with_an_open_session_and_no_other(swarm: Swarm, model: str) -> None:
    server = swarm.serve(model, "0:4")
    with swarm.client(model, route_timeout=2) as client:
        until_served(client)
        session = client.open_session(16)
        session.step([5, 6, 7])

        server.terminate()

        assert server.wait(STOP_SECONDS) == 0
        with pytest.raises(Unavailable, match=f"model {model}: "):
            session.step([8])
        session.close()


def test_open_sessions_go_on_for_their_grace_and_the_server_ends_with_the_last(
    swarm: Swarm, model: str
) -> None:
    server = swarm.serve(model, "0:4")
    with swarm.client(model, route_timeout=2) as client:
        until_served(client)
        session = client.open_session(16)
        session.step([5, 6, 7])
        Grace(server.folder / GRACE_NAME).give(100 * STOP_SECONDS)

        server.terminate()

        until(lambda: client.missing_blocks() == [0, 1, 2, 3])
        session.step([8])
        assert session.position == 4
        with pytest.raises(Unavailable, match="no server for blocks 0:4"):
            client.open_session(16).step([5])
        session.close()
        assert server.wait(STOP_SECONDS) == 0
        assert " ERROR " not in server.log


def test_sessions_that_outlast_their_grace_are_cut(swarm: Swarm, model: str) -> None:
    server = swarm.serve(model, "0:4")
    with swarm.client(model, route_timeout=2) as client:
        until_served(client)
        session = client.open_session(16)
        session.step([5, 6, 7])
        Grace(server.folder / GRACE_NAME).give(2)

        server.terminate()

        assert server.wait(STOP_SECONDS) == 0
        with pytest.raises(Unavailable):
            session.step([8])
        session.close()


def test_a_server_that_starts_again_holds_the_same_blocks(swarm: Swarm, model: str) -> None:
    same = {
        "CALYX_SERVER_PORT": str(free_port()),
        "CALYX_SERVER_IDENTITY": f"{swarm.cache}.key3",
        "CALYX_NUM_BLOCKS": "2",
    }
    other = swarm.serve(model, "0:2")
    other.until_logged("serving")
    server = swarm.serve(model, **same)
    server.until_logged("blocks=2:4")
    for one in (other, server):
        one.terminate()
        assert one.wait(STOP_SECONDS) == 0

    again = swarm.serve(model, **same)

    # With nobody else there, it would choose the first ones
    again.until_logged("blocks=2:4")
    swarm.stop(again)


def test_a_bootstrap_peer(tmp_path: Path) -> None:
    port = free_port()
    bootstrap = Room(
        "bootstrap",
        tmp_path,
        CALYX_BOOTSTRAP_PORT=str(port),
        CALYX_BOOTSTRAP_IDENTITY=str(tmp_path / "key"),
        CALYX_BOOTSTRAP_ADDRESSES=str(tmp_path / "initial_peers"),
    )
    try:
        until(lambda: bootstrap.heartbeat.read()[0])

        bootstrap.terminate()

        assert bootstrap.wait(STOP_SECONDS) == 0
        assert bootstrap.members() == []
        assert can_be_listened_on(port)
        assert "Traceback" not in bootstrap.log
    finally:
        bootstrap.kill()


def test_a_bootstrap_peer_whose_daemon_is_gone(tmp_path: Path) -> None:
    bootstrap = Room(
        "bootstrap",
        tmp_path,
        CALYX_BOOTSTRAP_PORT=str(free_port()),
        CALYX_BOOTSTRAP_IDENTITY=str(tmp_path / "key"),
        CALYX_BOOTSTRAP_ADDRESSES=str(tmp_path / "initial_peers"),
    )
    try:
        bootstrap.until_logged("bootstrap peer is up")
        (daemon,) = [process for process in bootstrap.members() if process.name() == "p2pd"]
        daemon.kill()

        bootstrap.terminate()

        assert bootstrap.wait(STOP_SECONDS) == 0
        assert bootstrap.members() == []
    finally:
        bootstrap.kill()
