"""A room whose network's owner was started again ends, and not before it can be started there."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from services.common.network_watch import NetworkWatch, end_when_left_behind, hosts_version

ROOT = Path(__file__).parents[3]
ETHERNET = {"lo": ["127.0.0.1"], "eth0": ["172.18.0.2"]}
LOOPBACK = {"lo": ["127.0.0.1"], "calyx0": []}
LONG = 60.0


class Node:
    """What a room sees of its node."""

    def __init__(self) -> None:
        self.addresses = ETHERNET
        self.owner_start: int | None = 1
        self.seconds = 0.0

    def watch(self) -> NetworkWatch:
        return NetworkWatch(lambda: self.addresses, lambda: self.owner_start, lambda: self.seconds)


@pytest.fixture
def node() -> Node:
    return Node()


def looks(watch: NetworkWatch, node: Node, seconds: float) -> bool:
    """Look every second for so long; return what was seen last."""
    for _ in range(int(seconds)):
        node.seconds += 1
        seen = watch.left_behind()
    return seen


def test_a_room_with_a_network_stays(node: Node) -> None:
    assert not looks(node.watch(), node, LONG)


def test_a_room_ends_some_time_after_the_owner_was_started_again(node: Node) -> None:
    watch = node.watch()
    node.addresses, node.owner_start = LOOPBACK, 2

    assert not looks(watch, node, 2)
    assert looks(watch, node, LONG)


def test_a_room_waits_as_long_as_the_owner_does_not_run(node: Node) -> None:
    watch = node.watch()
    node.addresses, node.owner_start = LOOPBACK, None

    assert not looks(watch, node, LONG)
    node.owner_start = 2
    assert not looks(watch, node, 2)
    assert looks(watch, node, LONG)


def test_the_engine_s_file_tells_whether_the_owner_runs_and_since_when(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    without = "127.0.0.1\tlocalhost\nff02::1\tip6-allnodes\n"

    hosts.write_text(without + "172.18.0.2\t67ce4d5eea8f\n")
    first = hosts_version(hosts, "67ce4d5eea8f")
    hosts.write_text(without)
    assert first is not None
    assert hosts_version(hosts, "67ce4d5eea8f") is None

    hosts.write_text(without + "172.18.0.2\t67ce4d5eea8f\n")
    os.utime(hosts, ns=(first + 1, first + 1))
    assert hosts_version(hosts, "67ce4d5eea8f") == first + 1
    assert hosts_version(tmp_path / "none") is None


def test_a_room_waits_as_long_as_the_owner_is_started_again_and_again(node: Node) -> None:
    watch = node.watch()
    node.addresses = LOOPBACK

    for start in range(2, 20):
        node.owner_start = start
        assert not looks(watch, node, 4)
    assert looks(watch, node, LONG)


def test_an_owner_that_starts_while_the_room_has_a_network_is_the_room_s_own(node: Node) -> None:
    watch = node.watch()
    node.owner_start = 2
    assert not looks(watch, node, 1)

    node.addresses = LOOPBACK

    assert not looks(watch, node, LONG)


def test_a_network_that_comes_back_is_no_loss(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    watch = node.watch()
    node.addresses = LOOPBACK
    looks(watch, node, LONG)
    node.addresses, node.owner_start = ETHERNET, 2

    assert not looks(watch, node, LONG)
    assert [record.message for record in caplog.records] == [
        "the node's network is gone, waiting for the container vpn to start again",
        "the node's network is back",
    ]


def test_the_process_is_ended_once_and_from_a_thread_of_its_own(node: Node) -> None:
    ends: list[bool] = []

    def pass_time(seconds: float) -> None:
        node.addresses, node.owner_start = LOOPBACK, 2
        node.seconds += seconds

    thread = end_when_left_behind(node.watch(), end=lambda: ends.append(True), wait=pass_time)
    thread.join(60)

    assert not thread.is_alive()
    assert ends == [True]


# A room that would run forever, on a node whose owner is started again right after it.
PROGRAM = """
import itertools, threading
from services.common.network_watch import NetworkWatch, end_when_left_behind, hosts_version
owner_starts = itertools.chain([1], itertools.repeat(2))
watch = NetworkWatch(dict, owner_starts.__next__, itertools.count(0, 60).__next__)
end_when_left_behind(watch, wait=lambda _: None)
threading.Event().wait()
"""


def test_it_ends_with_an_error_so_that_the_engine_starts_it_again() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 1
    assert "the container vpn was started again with a new network" in done.stderr
