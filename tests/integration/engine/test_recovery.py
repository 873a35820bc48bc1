"""Servers that die in the middle of a text: others take over, or the client is told, and the next text works."""

from collections.abc import Callable, Iterator

import pytest

from services.common.errors import InvalidInput, Unavailable
from services.swarm.directory import Directory
from tests.integration.engine.reference import continue_greedily, logits_along, plain_transformers
from tests.swarm_processes import START_SECONDS, Room, Swarm, free_port, until, until_served


def replicas(directory: Directory, model: str) -> list[int]:
    """Return how many servers have each block of the model online."""
    (found,) = [announced for announced in directory.read() if announced.name == model]
    return found.online_replicas


@pytest.fixture
def directory(swarm: Swarm) -> Iterator[Directory]:
    reading = Directory(swarm.initial_peers)
    yield reading
    reading.close()


@pytest.mark.parametrize(("lost", "end"), [("0:4", Room.kill), ("0:2", Room.terminate), ("2:4", Room.kill)])
def test_another_server_takes_over_in_the_middle_of_a_text(
    swarm: Swarm, model: str, directory: Directory, lost: str, end: Callable[[Room], None]
) -> None:
    """The text is long enough that what the new server must hear takes several messages."""
    text = plain_transformers(swarm.models / model, prompt=600, new=24)
    others = {"0:4": (), "0:2": ("2:4",), "2:4": ("0:2",)}[lost]
    servers = [swarm.serve(model, blocks) for blocks in (lost, *others)]
    with swarm.client(model) as client:
        until_served(client)
        session = client.open_session(text.length)
        tokens = [int(session.step(text.prompt).argmax())]
        tokens += continue_greedily(session, tokens[-1], 11)
        # Two servers take the place of one that held all blocks
        successors = ["0:1", "1:4"] if lost == "0:4" else [lost]
        servers += [swarm.serve(model, blocks) for blocks in successors]
        first, end_block = map(int, lost.split(":"))
        until(lambda: set(replicas(directory, model)[first:end_block]) == {2})

        end(servers[0])

        assert tokens + continue_greedily(session, tokens[-1], 12) == text.tokens
        session.close()
    swarm.stop(*servers)


def test_the_only_server_dies_and_comes_back(swarm: Swarm, model: str) -> None:
    text = plain_transformers(swarm.models / model, prompt=20, new=8)
    same = {"CALYX_SERVER_PORT": str(free_port()), "CALYX_SERVER_IDENTITY": f"{swarm.cache}.key"}
    server = swarm.serve(model, "0:4", **same)
    with swarm.client(model, route_timeout=2) as client:
        until_served(client)
        session = client.open_session(text.length)
        tokens = [int(session.step(text.prompt).argmax())]

        swarm.stop(server)
        with pytest.raises(Unavailable, match=f"model {model}: "):
            session.step(tokens)
        session.close()

        again = swarm.serve(model, "0:4", **same)
        again.until_logged("serving")
        assert logits_along(client, text).argmax(-1).tolist() == text.tokens
        swarm.stop(again)


def test_the_only_server_restarts_while_the_client_waits(swarm: Swarm, model: str) -> None:
    text = plain_transformers(swarm.models / model, prompt=20, new=8)
    same = {"CALYX_SERVER_PORT": str(free_port()), "CALYX_SERVER_IDENTITY": f"{swarm.cache}.key2"}
    server = swarm.serve(model, "0:4", **same)
    with swarm.client(model, route_timeout=START_SECONDS) as client:
        until_served(client)
        session = client.open_session(text.length)
        tokens = [int(session.step(text.prompt).argmax())]

        swarm.stop(server)
        again = swarm.serve(model, "0:4", **same)

        assert tokens + continue_greedily(session, tokens[-1], 7) == text.tokens
        session.close()
        swarm.stop(again)


def test_whoever_enters_through_a_restarted_bootstrap_peer_finds_the_swarm(swarm: Swarm, model: str) -> None:
    server = swarm.serve(model, "0:4")
    server.until_logged("serving")

    swarm.restart_bootstrap()

    with swarm.client(model) as client:
        until_served(client)
    swarm.stop(server)


def test_half_of_the_blocks_are_missing(swarm: Swarm, model: str) -> None:
    server = swarm.serve(model, "2:4")
    with swarm.client(model, route_timeout=2) as client:
        until(lambda: client.missing_blocks() == [0, 1])
        session = client.open_session(16)

        with pytest.raises(Unavailable) as missing:
            session.step([5])

        assert str(missing.value) == (
            f"model {model}: no server for blocks 0:2 — "
            "wait for servers to join, or share a machine that serves them"
        )
        session.close()
    swarm.stop(server)


def test_mistakes_of_the_caller_reach_no_server(swarm: Swarm, model: str) -> None:
    server = swarm.serve(model, "0:4")
    with swarm.client(model) as client:
        until_served(client)
        for length in (0, -1, client.max_length + 1):
            with pytest.raises(InvalidInput, match=f"a session of {length} tokens is not possible"):
                client.open_session(length)
        session = client.open_session(8)
        with pytest.raises(InvalidInput, match="a step needs at least one token"):
            session.step([])
        session.step([5] * 6)
        with pytest.raises(InvalidInput, match=r"6 \+ 3 tokens are more than the session's 8"):
            session.step([5] * 3)

        assert session.position == 6
        session.step([5] * 2)
        assert session.position == 8
        session.close()
        session.close()
    swarm.stop(server)
