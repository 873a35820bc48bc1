"""A peer of an open swarm finds out whether others reach it, and asks for relays if they do not."""

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from hivemind import DHT

from services.swarm import dht
from tests.swarm_processes import free_port

NOBODY_S_ADDRESS = "192.0.2.1"


class OpenSwarm:
    """Peers of this process that enter an open swarm through its first one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.peers: list[DHT] = []

    def add(self, announce_host: str = "127.0.0.1") -> DHT:
        peer = dht.start_peer(
            dht.addresses(self.peers[0]) if self.peers else [],
            port=free_port(),
            identity=self._folder / f"{len(self.peers)}.key",
            announce_host=announce_host,
            relays=bool(self.peers),
        )
        self.peers.append(peer)
        return peer


@pytest.fixture
def open_swarm(tmp_path: Path) -> Iterator[OpenSwarm]:
    """A first peer, which does not call others back, and a second, which does."""
    before = psutil.Process().children(recursive=True)
    swarm = OpenSwarm(tmp_path)
    swarm.add()
    swarm.add()
    yield swarm
    for peer in swarm.peers:
        peer.shutdown()
    # Who helps others to know does so until its process ends, which is this one here
    left = [
        one for one in psutil.Process().children(recursive=True) if one not in before and one.name() == "p2pd"
    ]
    for daemon in left:
        daemon.kill()
    psutil.wait_procs(left, 10)


def test_who_cannot_be_told_is_taken_as_reached(open_swarm: OpenSwarm) -> None:
    assert not open_swarm.peers[1].client_mode


def test_who_is_reached_answers_for_the_table(open_swarm: OpenSwarm) -> None:
    assert not open_swarm.add().client_mode


def test_who_is_not_reached_leaves_the_table_to_others(open_swarm: OpenSwarm) -> None:
    hidden = open_swarm.add(NOBODY_S_ADDRESS)

    assert hidden.client_mode
    dht.check(hidden)
