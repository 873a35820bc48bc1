"""A peer says what is wrong with its addresses, its port and its key, before or instead of libp2p's daemon."""

import multiprocessing
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from petals.constants import PUBLIC_INITIAL_PEERS

from services.common.errors import Broken, InvalidInput, Unavailable
from services.swarm import dht

PEER = "QmcZf59bWwK5XFi76CZX8cbJ4BhTzzA3gU1ZjYZcYW3dwt"


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens on, and lets others listen on as well, as libp2p does."""
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listening.bind(("0.0.0.0", 0))
        listening.listen()
        yield listening.getsockname()[1]


@pytest.fixture
def free(taken: int) -> int:
    with socket.socket() as one:
        one.bind(("0.0.0.0", 0))
        return int(one.getsockname()[1])


@pytest.mark.parametrize(
    "address",
    [
        "somewhere",
        "/ip4/127.0.0.1/tcp/1",
        f"/ip4/127.0.0.1/tcp/70000/p2p/{PEER}",
        "/ip4/127.0.0.1/tcp/1/p2p/x",
    ],
)
def test_an_initial_peer_that_is_no_address(address: str, free: int, tmp_path: Path) -> None:
    for start in (
        lambda: dht.start_client([address]),
        lambda: dht.start_peer([address], port=free, identity=tmp_path / "key"),
    ):
        with pytest.raises(InvalidInput) as refused:
            start()
        assert str(refused.value).startswith(f"initial peer {address}: ")
        assert str(refused.value).endswith(" — write it as /ip4/<address>/tcp/<port>/p2p/<peer id>")


def test_the_word_for_petals_own_peers_stands_for_them() -> None:
    mine = f"/ip4/127.0.0.1/tcp/1/p2p/{PEER}"

    assert dht.resolve([mine]) == [mine]
    assert dht.resolve(["public", mine]) == [*PUBLIC_INITIAL_PEERS, mine]
    assert all("/p2p/" in address for address in dht.resolve(["public"]))


def test_no_initial_peer_at_all() -> None:
    with pytest.raises(InvalidInput, match="no initial peers are given — set CALYX_INITIAL_PEERS"):
        dht.start_client([])


def test_an_initial_peer_that_does_not_answer(free: int) -> None:
    address = f"/ip4/127.0.0.1/tcp/{free}/p2p/{PEER}"

    with pytest.raises(
        Unavailable, match=f"joining the swarm through {address}: .* — check that the bootstrap peer"
    ):
        dht.start_client([address])


def test_a_swarm_that_cannot_be_asked_who_reaches_this_peer(free: int, tmp_path: Path) -> None:
    address = f"/ip4/127.0.0.1/tcp/{free}/p2p/{PEER}"
    with socket.socket() as one:
        one.bind(("0.0.0.0", 0))
        port = int(one.getsockname()[1])

    with pytest.raises(Unavailable, match=f"joining the swarm through {address}: "):
        dht.start_peer([address], port=port, identity=tmp_path / "key", relays=True)


def test_a_port_that_is_taken(taken: int, tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as refused:
        dht.start_peer([], port=taken, identity=tmp_path / "key")

    assert str(refused.value) == (
        f"listening on TCP port {taken}: Address already in use — stop what uses it, or choose another port"
    )


@pytest.mark.parametrize("host", ["nonsense", "example.org", "256.0.0.1", "127.0.0.1/8"])
def test_a_host_to_announce_that_is_no_address(host: str, free: int, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"announced host: .* — set CALYX_ANNOUNCE_HOST to an IP address"):
        dht.start_peer([], port=free, identity=tmp_path / "key", announce_host=host)


def test_a_key_in_a_folder_that_is_not_there(free: int, tmp_path: Path) -> None:
    with pytest.raises(Broken, match=f"identity {tmp_path}/missing/key: its folder does not exist — create"):
        dht.start_peer([], port=free, identity=tmp_path / "missing" / "key")


def test_a_key_that_is_none(free: int, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"\x01" * 40)

    with pytest.raises(Broken, match=r"starting libp2p's daemon: .* — check the key of this peer's identity"):
        dht.start_peer([], port=free, identity=tmp_path / "key")


def test_a_shared_client_is_started_once_and_asks_for_its_peers_at_each_try() -> None:
    started: list[object] = []
    answers = iter([["gone"], ["there"]])

    def start(peers: list[str]) -> object:
        if peers == ["gone"]:
            raise Unavailable("no peer answers")
        started.append(object())
        return started[-1]

    client = dht.SharedClient(lambda: next(answers), start)
    with pytest.raises(Unavailable):
        client.get()
    assert [client.get(), client.get()] == started * 2


def test_questions_of_many_threads_reach_the_client_s_process_one_after_another() -> None:
    reading, writing = multiprocessing.Pipe(duplex=False)
    pipe = dht.OneAtATime(writing)
    questions = [bytes([number]) * 100_000 for number in range(8)]
    with ThreadPoolExecutor(len(questions)) as threads:
        sent = [threads.submit(pipe.send, question) for question in questions * 4]
        received = [reading.recv() for _ in sent]
    assert sorted(received) == sorted(questions * 4)
    pipe.close()
