"""A pool of three machines when something of it ends, restarts, is away or comes back."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.integration.stack.machines import EXACT, HALVES, SEED_IN_MESH, SERVER_PORT, Machine, Mesh
from tests.integration.stack.pool import Pool, eventually

SYSTEMD = Path("/run/systemd/system")
ENGINE = Path("/var/run/docker.pid")
PROMPT = "Once upon a time, in a small village by the sea,"
TOKENS = 96


@pytest.fixture
def replica(mesh: Mesh, tmp_path: Path) -> Iterator[Machine]:
    """A third worker with the first half of the model, which attic has too."""
    with Pool(EXACT) as pool:
        machine = Machine(pool, tmp_path)
        machine.done("join", mesh.invite(), "--name", "replica", "--block-indices", HALVES[0], "--yes")
        try:
            yield machine
        finally:
            machine.calyx("stop", "--purge")


def cpu_seconds(machine: Machine) -> float:
    """Return the CPU time that a server's container has used."""
    stats = machine.pool.containers()["server"].stats(stream=False, one_shot=True)
    return float(stats["cpu_stats"]["cpu_usage"]["total_usage"]) / 1e9


def busy_one(machines: list[Machine]) -> Machine:
    """Return the machine whose server computes; waits until one clearly does."""
    before = {id(machine): cpu_seconds(machine) for machine in machines}

    def computes() -> Machine:
        used = sorted(machines, key=lambda machine: cpu_seconds(machine) - before[id(machine)])
        assert cpu_seconds(used[-1]) - before[id(used[-1])] > 0.7
        return used[-1]

    return eventually(computes, 60)


def kill_server(machine: Machine) -> None:
    """End the server as the kernel does when memory is short: all its processes, by SIGKILL."""
    machine.pool.containers()["server"].exec_run(["python", "-c", "import os; os.kill(-1, 9)"])


def test_a_server_that_is_killed_in_an_answer_is_replaced_and_the_text_is_the_same(
    mesh: Mesh, replica: Machine
) -> None:
    attic, cellar = mesh.workers
    mesh.works()
    answers: list[dict[str, Any]] = []

    def ask() -> None:
        answers.append(cellar.pool.post(inputs=PROMPT, max_new_tokens=TOKENS))

    ask()
    asking = threading.Thread(target=ask)
    asking.start()
    victim = busy_one([attic, replica])
    kill_server(victim)
    was_in_time = asking.is_alive()
    asking.join(120)

    assert was_in_time
    undisturbed, disturbed = answers
    assert disturbed["ok"], disturbed
    assert disturbed["outputs"] == undisturbed["outputs"]
    eventually(lambda: _holds_blocks(victim))  # started again, with the same blocks


def test_a_worker_gets_over_a_restarted_vpn_without_help(mesh: Mesh) -> None:
    attic, cellar = mesh.workers
    mesh.works()
    before, address = attic.pool.starts(), attic.address

    attic.pool.containers()["vpn"].restart()

    def is_started() -> None:
        assert attic.pool.starts()["server"] != before["server"]

    eventually(is_started)
    eventually(cellar.pool.works)
    eventually(attic.pool.works)
    assert attic.address == address


def test_a_worker_whose_vpn_is_made_anew_is_mended_by_up(mesh: Mesh) -> None:
    attic = mesh.workers[0]
    address = attic.address

    attic.pool.containers()["vpn"].remove(force=True)
    attic.done("up", "--no-build")

    eventually(attic.pool.works)
    assert attic.address == address


def test_a_seed_that_was_down_knows_its_nodes_and_they_reconnect(mesh: Mesh) -> None:
    attic = mesh.workers[0]
    mesh.works()
    token, address = mesh.invite(), attic.address
    before = mesh.seed.done("nodes", "--json"), mesh.seed.done("token", "list")
    names = set(mesh.states())

    mesh.seed.done("down")
    mesh.seed.done("up", "--no-build")

    mesh.works()
    assert set(mesh.states()) == names
    assert mesh.seed.done("token", "list") == before[1]
    assert '"state": "valid"' in mesh.seed.done("token", "check", token)
    assert attic.address == address


@contextmanager
def local_network(machines: list[Machine]) -> Iterator[None]:
    """Put machines into one network that leads nowhere else, as two at home are beside their way to the Internet."""
    network = machines[0].pool.client.networks.create(f"{machines[0].pool.project}-home", internal=True)
    try:
        for machine in machines:
            network.connect(machine.pool.containers()["vpn"])
        yield
    finally:
        for machine in machines:
            network.disconnect(machine.pool.containers()["vpn"], force=True)
        network.remove()


def test_machines_of_one_network_talk_directly_and_do_not_need_the_seed_for_it(mesh: Mesh) -> None:
    attic, cellar = mesh.workers
    seed = mesh.seed.pool.containers()["vpn"]
    with local_network([attic, cellar]):
        for worker in (attic, cellar):
            worker.signal_nebula("SIGTERM")  # a new handshake looks for the best way

        def is_direct() -> None:
            assert attic.reaches(cellar.address, SERVER_PORT)
            assert attic.ways()["cellar"] == "direct"

        eventually(is_direct)
        seed.pause()
        try:

            def is_noticed() -> None:
                assert attic.pool.containers()["vpn"].attrs["State"]["Health"]["Status"] == "unhealthy"

            eventually(is_noticed)
            assert attic.reaches(cellar.address, SERVER_PORT)
            assert not attic.reaches(SEED_IN_MESH, 8000)
        finally:
            seed.unpause()
    mesh.works()


@pytest.mark.skipif(SYSTEMD.exists(), reason="would restart an engine that is not these tests' own")
def test_a_machine_that_reboots_comes_back_as_it_was(mesh: Mesh) -> None:
    attic, cellar = mesh.workers
    attic.done("pause")

    engine = psutil.Process(int(ENGINE.read_text()))
    os.kill(engine.pid, signal.SIGTERM)
    engine.wait(90)
    for machine in (mesh.seed, attic, cellar):  # what systemd does where it is
        machine.done("up", "--no-build", "--yes")

    assert "this machine is a worker, paused" in attic.done("status")
    assert not attic.pool.containers()["server"].attrs["State"]["Running"]
    assert cellar.pool.is_whole()
    attic.done("resume")
    mesh.works()


def _holds_blocks(machine: Machine) -> None:
    state = machine.pool.containers()["server"].attrs["State"]
    assert state["Running"]
    assert state["Health"]["Status"] == "healthy"
