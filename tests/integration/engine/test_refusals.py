"""A server or bootstrap peer that cannot start ends with exit code 1 and one line that says why."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.swarm_processes import Room, free_port

PEER = "/ip4/127.0.0.1/tcp/{port}/p2p/QmcZf59bWwK5XFi76CZX8cbJ4BhTzzA3gU1ZjYZcYW3dwt"


@pytest.fixture
def settings(models: Path, tmp_path: Path) -> dict[str, str]:
    """What a server needs to start a swarm of its own with a tiny model."""
    return {
        "CALYX_MODEL": "tiny/llama-sharded",
        "CALYX_MODELS_DIR": str(models),
        "CALYX_CACHE_DIR": str(tmp_path / "cache"),
        "CALYX_SERVER_PORT": str(free_port()),
        "CALYX_SERVER_IDENTITY": str(tmp_path / "server.key"),
        "CALYX_BOOTSTRAP_PORT": str(free_port()),
        "CALYX_BOOTSTRAP_IDENTITY": str(tmp_path / "bootstrap.key"),
        "CALYX_BOOTSTRAP_ADDRESSES": str(tmp_path / "initial_peers"),
        "HF_HUB_OFFLINE": "1",
    }


@pytest.fixture
def taken() -> Iterator[str]:
    with socket.socket() as listening:
        listening.bind(("0.0.0.0", 0))
        listening.listen()
        yield str(listening.getsockname()[1])


def last_words(room: str, folder: Path, settings: dict[str, str]) -> str:
    """Run a room that cannot start; return its only line about that, and check that nothing else is left."""
    started = Room(room, folder, **settings)
    try:
        assert started.wait() == 1
        assert started.members() == []
        assert "Traceback" not in started.log
        (complaint,) = [line for line in started.log.splitlines() if " ERROR " in line]
        return complaint.split(f"services.{room}.app ")[1]
    finally:
        started.kill()


def test_a_server_of_a_model_that_is_nowhere(tmp_path: Path, settings: dict[str, str]) -> None:
    words = last_words("server", tmp_path, settings | {"CALYX_MODEL": "nobody/nothing"})

    assert words.startswith("reading the configuration of nobody/nothing: not in ")


def test_a_server_without_memory_for_one_block(tmp_path: Path, settings: dict[str, str]) -> None:
    words = last_words("server", tmp_path, settings | {"CALYX_ATTN_CACHE_TOKENS": str(10**12)})

    assert words.startswith("one block takes ")
    assert words.endswith(" — free memory, lower CALYX_ATTN_CACHE_TOKENS, or choose a smaller model")


def test_a_server_whose_port_is_taken(tmp_path: Path, settings: dict[str, str], taken: str) -> None:
    words = last_words("server", tmp_path, settings | {"CALYX_SERVER_PORT": taken})

    assert words == (
        f"listening on TCP port {taken}: Address already in use — stop what uses it, or choose another port"
    )


def test_a_server_whose_initial_peer_does_not_answer(tmp_path: Path, settings: dict[str, str]) -> None:
    peer = PEER.format(port=free_port())
    words = last_words("server", tmp_path, settings | {"CALYX_INITIAL_PEERS": peer})

    assert words.startswith(f"joining the swarm through {peer}: ")
    assert words.endswith(" — check that the bootstrap peer runs and is reachable")


def test_a_server_whose_shard_is_cut(tmp_path: Path, models: Path, settings: dict[str, str]) -> None:
    folder = tmp_path / "models" / "tiny" / "cut"
    folder.mkdir(parents=True)
    for path in (models / "tiny" / "llama-single").iterdir():
        content = path.read_bytes()
        (folder / path.name).write_bytes(content[:-1] if path.suffix == ".safetensors" else content)

    words = last_words(
        "server",
        tmp_path,
        settings | {"CALYX_MODEL": "tiny/cut", "CALYX_MODELS_DIR": str(tmp_path / "models")},
    )

    assert words.startswith("model.safetensors of tiny/cut is corrupt: ")
    assert words.endswith(f" — delete model.safetensors under {folder} and put a good copy there")


def test_a_bootstrap_peer_whose_port_is_taken(tmp_path: Path, settings: dict[str, str], taken: str) -> None:
    words = last_words("bootstrap", tmp_path, settings | {"CALYX_BOOTSTRAP_PORT": taken})

    assert words.startswith(f"listening on TCP port {taken}: Address already in use — ")


def test_a_bootstrap_peer_that_cannot_publish_its_address(tmp_path: Path, settings: dict[str, str]) -> None:
    nowhere = tmp_path / "missing" / "initial_peers"
    words = last_words("bootstrap", tmp_path, settings | {"CALYX_BOOTSTRAP_ADDRESSES": str(nowhere)})

    assert words.startswith(f"writing {nowhere}: No such file or directory — ")


def test_a_server_of_a_model_that_int8_cannot_keep(tmp_path: Path, settings: dict[str, str]) -> None:
    falcon = {"CALYX_MODEL": "tiny/falcon-40b-sharded", "CALYX_QUANTIZATION": "int8"}
    words = last_words("server", tmp_path, settings | falcon)

    assert words.startswith("nothing of a falcon block can be kept in int8 — ")


def test_a_server_of_an_adapter_that_is_nowhere(tmp_path: Path, settings: dict[str, str]) -> None:
    words = last_words("server", tmp_path, settings | {"CALYX_ADAPTERS": "nobody/poet"})

    assert words.startswith("finding adapter_config.json of nobody/poet: not in ")
    assert words.endswith(" — check CALYX_ADAPTERS and the network, or put the files there")
