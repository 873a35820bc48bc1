"""What takes days elsewhere, in a pool whose certificates and leases are short: renewal, rotation, ghosts."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.stack.machines import SEED_ADDRESS, SEED_IN_MESH, Machine, Mesh
from tests.integration.stack.pool import Pool, eventually, free_port

LIVES = {"CALYX_CERTIFICATE_LIFETIME": "60s", "CALYX_CA_LIFETIME": "1h", "CALYX_LEASE_SECONDS": 15}


@pytest.fixture(scope="module")
def short_lived(first_up: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """A seed without blocks, and a worker with one."""
    ports: dict[str, object] = {"CALYX_AUTHORITY_PORT": free_port(), "CALYX_NEBULA_PORT": free_port()}
    with Pool(ports | LIVES) as seed, Pool() as worker:
        machines = [Machine(pool, tmp_path_factory.mktemp("machine")) for pool in (seed, worker)]
        mesh = Mesh(machines[0], machines[1:])
        mesh.seed.done("create", "brief", "--address", SEED_ADDRESS, "--no-server", "--yes")
        mesh.workers[0].done("join", mesh.invite(), "--name", "attic", "--block-indices", "0:1", "--yes")
        yield mesh


def place(machine: Machine) -> dict[str, Any]:
    """Return what a node keeps of its place in the pool."""
    document: dict[str, Any] = json.loads(machine.pool.read("vpn", "/vpn/membership.json"))
    return document


def test_a_certificate_is_renewed_long_before_its_end_and_nobody_notices(short_lived: Mesh) -> None:
    (attic,) = short_lived.workers
    first = place(attic)["expires_at"]

    def is_renewed() -> None:
        assert attic.reaches(SEED_IN_MESH, 8000)
        assert place(attic)["expires_at"] > first

    eventually(is_renewed, 90)
    assert attic.reaches(SEED_IN_MESH, 8000)


def test_a_new_authority_takes_over_while_everybody_stays_connected(short_lived: Mesh) -> None:
    seed, (attic,) = short_lived.seed, short_lived.workers
    old = place(attic)["ca"]
    reached = []

    seed.done("rotate-ca")

    def is_alone() -> None:
        reached.append(attic.reaches(SEED_IN_MESH, 8000))
        for node in (seed, attic):
            assert place(node)["ca"].count("BEGIN") == 1
            assert place(node)["ca"] != old

    eventually(is_alone, 240)
    assert all(reached)


def test_the_end_of_the_authority_is_shown(short_lived: Mesh) -> None:
    seed = short_lived.seed
    end = place(seed)["ca_expires_at"]

    assert "./scripts/calyx rotate-ca" in seed.calyx("status").out  # it has less than an hour
    metrics = seed.pool.get(seed.pool.health, "/metrics").text
    line = next(line for line in metrics.splitlines() if 'certificate="authority"' in line)
    assert float(line.rsplit(" ", 1)[1]) == pytest.approx(end)


def test_a_machine_that_crashed_is_listed_no_longer_than_its_lease(short_lived: Mesh) -> None:
    seed, (attic,) = short_lived.seed, short_lived.workers
    address = attic.address
    for container in attic.pool.containers().values():
        container.kill()

    def is_gone() -> None:
        assert short_lived.states()["attic"] == "gone"
        assert seed.pool.get(seed.pool.health, "/api/v2/state").json()["models"] == []

    eventually(is_gone)
    assert seed.checks()["way to attic"] == ("warn", "that machine is gone: the pool hears nothing of it")

    attic.done("up", "--no-build")
    eventually(lambda: _is_there(short_lived))
    assert attic.address == address


def test_a_pool_whose_seed_is_lost_goes_on_from_its_backup(short_lived: Mesh, tmp_path: Path) -> None:
    seed, (attic,) = short_lived.seed, short_lived.workers
    token, address, backup = short_lived.invite(), attic.address, tmp_path / "brief.tar"
    seed.done("keys", "create", "phone")
    seed.done("backup", str(backup))
    assert backup.stat().st_mode & 0o777 == 0o600
    assert "is there already" in seed.calyx("backup", str(backup)).error

    seed.done("stop", "--purge")
    seed.done("create", "brief", "--address", SEED_ADDRESS, "--no-server", "--yes", "--restore", str(backup))

    eventually(lambda: _is_there(short_lived))
    eventually(lambda: _reaches_seed(attic))
    assert attic.address == address
    assert place(seed)["address"].startswith(f"{SEED_IN_MESH}/")
    assert '"state": "valid"' in seed.done("token", "check", token)
    assert "phone" in seed.done("keys", "list")
    seed.done("keys", "off")


def test_a_backup_of_something_else_changes_nothing(short_lived: Mesh, tmp_path: Path) -> None:
    seed, before = short_lived.seed, short_lived.states()
    nonsense = tmp_path / "nonsense.tar"
    nonsense.write_text("nonsense")

    assert "no backup" in seed.calyx("restore", str(nonsense)).error

    def is_as_before() -> None:
        assert short_lived.states() == before

    eventually(is_as_before)


def _is_there(mesh: Mesh) -> None:
    assert mesh.states()["attic"] == "running"


def _reaches_seed(machine: Machine) -> None:
    assert machine.reaches(SEED_IN_MESH, 8000)
