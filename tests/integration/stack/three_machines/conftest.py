"""A pool of three machines, which ends with the tests of this folder: it takes a part of this machine's time."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.stack.machines import EXACT, HALVES, SEED_ADDRESS, Machine, Mesh
from tests.integration.stack.pool import Pool, free_port


@pytest.fixture(scope="package")
def machines(first_up: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """A seed without blocks, and two workers that hold a half each."""
    own: dict[str, object] = {
        "CALYX_AUTHORITY_PORT": free_port(),
        "CALYX_NEBULA_PORT": free_port(),
        "CALYX_HEALTH_CREDITS_PERIOD": "5s",
    }
    pools = [Pool(own | EXACT), Pool(EXACT), Pool(EXACT)]
    seed, *workers = (Machine(pool, tmp_path_factory.mktemp("machine")) for pool in pools)
    mesh = Mesh(seed, workers)
    try:
        seed.done("create", "home", "--address", SEED_ADDRESS, "--no-server", "--yes")
        token = mesh.invite("--uses", "2")
        for worker, name, blocks in zip(workers, ["attic", "cellar"], HALVES, strict=True):
            out = worker.done("join", token, "--name", name, "--block-indices", blocks, "--yes")
            assert "You are connected to home" in out
        yield mesh
    finally:
        for pool in pools:
            pool.remove()


@pytest.fixture
def mesh(machines: Mesh) -> Mesh:
    """The pool of three machines, working: what an earlier test broke and left so is its own failure alone."""
    for machine in (machines.seed, *machines.workers):
        if not machine.pool.is_whole():
            machine.done("resume") if machine in machines.workers else machine.done("up", "--no-build")
    return machines


@pytest.fixture
def guest(mesh: Mesh, tmp_path: Path) -> Iterator[Machine]:
    """One more worker, for a test alone."""
    with Pool() as pool:
        machine = Machine(pool, tmp_path)
        machine.done("join", mesh.invite(), "--name", "guest", "--block-indices", "0:2", "--yes")
        try:
            yield machine
        finally:
            machine.calyx("stop", "--purge")
