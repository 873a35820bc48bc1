"""A pool of three machines: each has a network of its own here, and only what the seed publishes is shared."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.stack.pool import BLOCKS, Finished, Pool, eventually, free_port

SEED_ADDRESS = "172.17.0.1"
"""This machine, as containers of every network reach it: the address of the engine's default bridge."""


@dataclass
class Machine:
    """A node and the folder that its helper keeps its state in."""

    pool: Pool
    state: Path

    def calyx(self, *arguments: str) -> Finished:
        return self.pool.calyx(*arguments, XDG_STATE_HOME=self.state)

    def done(self, *arguments: str) -> str:
        finished = self.calyx(*arguments)
        assert finished.code == 0, finished.err
        return finished.out


@dataclass
class Mesh:
    """The machines and the command that joins one more."""

    seed: Machine
    workers: list[Machine]
    token: str


@pytest.fixture(scope="module")
def mesh(first_up: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """A seed without blocks, and two workers that hold a half each."""
    ports = {"CALYX_AUTHORITY_PORT": free_port(), "CALYX_NEBULA_PORT": free_port()}
    pools = [Pool(settings=ports), Pool(), Pool()]
    machines = [Machine(pool, tmp_path_factory.mktemp("machine")) for pool in pools]
    seed, *workers = machines
    try:
        seed.done("create", "home", "--address", SEED_ADDRESS, "--no-server", "--yes")
        token = invite(seed, uses=2)
        half = BLOCKS // 2
        for worker, name, span in zip(
            workers, ["attic", "cellar"], [f"0:{half}", f"{half}:{BLOCKS}"], strict=True
        ):
            out = worker.done("join", token, "--name", name, "--block-indices", span, "--yes")
            assert "You are connected to home" in out
        yield Mesh(seed, workers, token)
    finally:
        for pool in pools:
            pool.remove()


def invite(seed: Machine, uses: int = 1) -> str:
    """Return a new token."""
    return re.findall(r"calyx1_\S+", seed.done("token", "create", "--uses", str(uses)))[0]


@pytest.fixture
def guest(mesh: Mesh, tmp_path: Path) -> Iterator[Machine]:
    """One more worker, for a test alone."""
    with Pool() as pool:
        machine = Machine(pool, tmp_path)
        machine.done("join", invite(mesh.seed), "--name", "guest", "--block-indices", "0:2", "--yes")
        try:
            yield machine
        finally:
            machine.calyx("stop", "--purge")


def states(machine: Machine) -> dict[str, str]:
    """Return node → state, as the seed sees them."""
    return {node["name"]: node["state"] for node in json.loads(machine.done("nodes"))}


def connects(pool: Pool, service: str, address: str, port: int) -> bool:
    """Whether a program in a container reaches a port, asked as the user that rooms run as."""
    script = f"import socket; socket.create_connection(('{address}', {port}), 5)"
    code, _ = pool.containers()[service].exec_run(["python3", "-c", script], user="10001")
    return bool(code == 0)


def test_two_halves_answer_on_a_worker_s_own_port(mesh: Mesh) -> None:
    for worker in mesh.workers:
        eventually(worker.pool.works)

    assert states(mesh.seed).items() >= {("attic", "running"), ("cellar", "running")}


def test_a_member_reaches_petals_and_the_seed_s_pages_and_nothing_else(mesh: Mesh) -> None:
    attic, cellar = (worker.pool for worker in mesh.workers)
    address = cellar.read("server", "/node/announce_host").strip()

    assert connects(attic, "server", address, 31331)
    assert connects(attic, "server", "10.77.0.1", 8000)
    assert not connects(attic, "server", address, 8000)
    assert not connects(attic, "server", "10.77.0.1", 7443)


def signal_nebula(pool: Pool, name: str) -> None:
    """Send Nebula a signal."""
    script = (
        "import os, pathlib, signal\n"
        "for path in pathlib.Path('/proc').glob('[0-9]*/comm'):\n"
        "    if path.read_text() == 'nebula\\n':\n"
        f"        os.kill(int(path.parent.name), signal.{name})"
    )
    code, output = pool.containers()["vpn"].exec_run(["python3", "-c", script])
    assert code == 0, output


def test_nothing_leaves_a_worker_outside_the_tunnel(mesh: Mesh) -> None:
    attic = mesh.workers[0].pool
    outside = SEED_ADDRESS, int(str(mesh.seed.pool.settings["CALYX_AUTHORITY_PORT"]))
    assert connects(attic, "server", "10.77.0.1", 8000)
    assert not connects(attic, "server", *outside)

    signal_nebula(attic, "SIGSTOP")
    try:
        assert not connects(attic, "server", "10.77.0.1", 8000)
        assert not connects(attic, "server", *outside)
    finally:
        signal_nebula(attic, "SIGCONT")
    eventually(attic.works)


def test_an_outsider_reaches_the_authority_and_nothing_else(mesh: Mesh) -> None:
    seed = mesh.seed.pool
    (network,) = seed.containers()["vpn"].attrs["NetworkSettings"]["Networks"].values()
    reached = set()
    for port in (7443, 8000, 8080, 31330, 31331):
        script = f"import socket; socket.create_connection(('{network['IPAddress']}', {port}), 3)"
        outsider = seed.client.containers.run(
            "calyx/vpn", ["python3", "-c", script], network=network["NetworkID"], detach=True
        )
        try:
            if outsider.wait(timeout=60)["StatusCode"] == 0:
                reached.add(port)
        finally:
            outsider.remove(force=True)
    assert reached == {7443}  # where tokens are looked at


def test_a_paused_half_is_missed_until_it_is_resumed(mesh: Mesh) -> None:
    attic, cellar = mesh.workers
    attic.done("pause")

    def is_missed() -> None:
        answer = cellar.pool.post(inputs="The capital of France is", max_new_tokens=3)
        assert not answer["ok"]
        assert "blocks 0:15" in answer["error"]

    eventually(is_missed)

    def is_seen_as_paused() -> None:
        assert states(mesh.seed)["attic"] == "paused"

    eventually(is_seen_as_paused)
    assert "this machine is a worker, paused" in attic.done("status")
    assert attic.pool.containers()["vpn"].attrs["State"]["Running"]
    attic.done("resume")
    eventually(cellar.pool.works)


def test_a_token_that_is_used_up_lets_nobody_in_and_leaves_nothing(mesh: Mesh, tmp_path: Path) -> None:
    with Pool() as pool:
        late = Machine(pool, tmp_path)

        assert "used up" in late.calyx("join", mesh.token, "--name", "late", "--yes").error
        assert pool.containers() == {}
        assert not pool.client.volumes.list(filters={"name": pool.project})
        assert late.calyx("pause").error.startswith("error: this machine is in no pool")
    assert "late" not in states(mesh.seed)


def test_a_revoked_node_is_cut_off(mesh: Mesh, guest: Machine) -> None:
    cellar = mesh.workers[1].pool
    address = guest.pool.read("server", "/node/announce_host").strip()
    assert connects(cellar, "server", address, 31331)

    mesh.seed.done("revoke", "guest")

    def is_cut_off() -> None:
        assert not connects(cellar, "server", address, 31331)
        assert not connects(guest.pool, "server", "10.77.0.1", 8000)

    eventually(is_cut_off, 30)
    assert states(mesh.seed)["guest"] == "revoked"


def test_who_stops_is_gone_and_may_come_back(mesh: Mesh, guest: Machine) -> None:
    guest.done("stop", "--purge")

    assert guest.pool.containers() == {}
    assert states(mesh.seed)["guest"] == "left"

    guest.done("join", invite(mesh.seed), "--name", "guest", "--block-indices", "0:2", "--yes")
    assert states(mesh.seed)["guest"] == "running"
