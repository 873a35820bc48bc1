"""A pool of three machines, as their owners use it: join, share, pause, leave, be put out."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from services.common.token import JoinToken
from tests.integration.stack.machines import SEED_ADDRESS, SEED_IN_MESH, SERVER_PORT, Machine, Mesh
from tests.integration.stack.pool import BLOCKS, Pool, eventually, free_port


def test_two_halves_answer_on_a_worker_s_own_port(mesh: Mesh) -> None:
    mesh.works()

    assert mesh.states().items() >= {("attic", "running"), ("cellar", "running")}


def test_what_workers_share_is_credited_to_them(mesh: Mesh) -> None:
    mesh.works()

    def is_booked() -> None:
        credits = {one["name"]: one for one in json.loads(mesh.seed.done("credits", "--json"))}
        for name in ("attic", "cellar"):
            assert credits[name]["block_seconds"] > 0
            assert credits[name]["token_blocks"] == BLOCKS // 2 * credits[name]["tokens"] > 0
        assert "seed" not in credits
        assert '<th scope="row">attic</th>' in mesh.seed.pool.get(mesh.seed.pool.health, "/").text

    eventually(is_booked)


def test_a_member_reaches_petals_and_the_seed_s_pages_and_nothing_else(mesh: Mesh) -> None:
    attic, cellar = mesh.workers

    assert attic.reaches(cellar.address, SERVER_PORT)
    assert attic.reaches(SEED_IN_MESH, 8000)
    assert not attic.reaches(cellar.address, 8000)
    assert not attic.reaches(SEED_IN_MESH, 7443)


def test_workers_open_no_port_of_their_machine_to_others(mesh: Mesh) -> None:
    for worker in mesh.workers:
        published = worker.pool.containers()["vpn"].attrs["NetworkSettings"]["Ports"].values()
        assert {binding["HostIp"] for bindings in published for binding in bindings or []} == {"127.0.0.1"}


def test_status_and_doctor_tell_direct_ways_from_relayed_ones(mesh: Mesh) -> None:
    attic = mesh.workers[0]
    mesh.works()

    assert attic.ways() == {"seed": "direct", "cellar": "relayed"}  # nobody reaches another's network here
    checks = attic.checks()
    assert checks["way to seed"][0] == checks["way to cellar"][0] == checks["authority"][0] == "ok"
    assert checks["way to cellar"][1].startswith("relayed by seed: an echo took")
    assert mesh.seed.checks()["way to attic"][1].startswith("direct by")


def test_doctor_says_that_a_machine_does_not_answer(mesh: Mesh) -> None:
    attic, cellar = mesh.workers
    mesh.works()
    cellar.signal_nebula("SIGSTOP")
    try:
        verdict, detail = attic.checks()["way to cellar"]
    finally:
        cellar.signal_nebula("SIGCONT")

    assert verdict == "fail"
    assert "no echo" in detail


def test_nothing_leaves_a_worker_outside_the_tunnel(mesh: Mesh) -> None:
    attic = mesh.workers[0]
    outside = SEED_ADDRESS, int(str(mesh.seed.pool.settings["CALYX_AUTHORITY_PORT"]))
    assert attic.reaches(SEED_IN_MESH, 8000)
    assert not attic.reaches(*outside)

    attic.signal_nebula("SIGSTOP")
    try:
        assert not attic.reaches(SEED_IN_MESH, 8000)
        assert not attic.reaches(*outside)
    finally:
        attic.signal_nebula("SIGCONT")
    eventually(attic.pool.works)


def test_an_outsider_reaches_the_authority_and_nothing_else(mesh: Mesh) -> None:
    seed = mesh.seed.pool
    (network,) = seed.containers()["vpn"].attrs["NetworkSettings"]["Networks"].values()
    reached = set()
    for port in (7443, 8000, 8001, 8080, 31330, 31331):
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


def test_a_node_s_own_prometheus_is_let_in(mesh: Mesh) -> None:
    seed = mesh.seed
    seed.done("up", "--yes", "--monitoring")
    try:
        eventually(seed.pool.is_watched)
    finally:
        seed.pool.containers()["prometheus"].remove(force=True)


def test_a_paused_half_is_missed_until_it_is_resumed(mesh: Mesh) -> None:
    attic, cellar = mesh.workers
    attic.done("pause")
    assert "Nothing is shared already" in attic.done("pause")

    def is_missed() -> None:
        answer = cellar.pool.post(inputs="The capital of France is", max_new_tokens=3)
        assert not answer["ok"]
        assert "blocks 0:15" in answer["error"]

    eventually(is_missed)

    def is_seen_as_paused() -> None:
        assert mesh.states()["attic"] == "paused"

    eventually(is_seen_as_paused)
    assert "this machine is a worker, paused" in attic.done("status")
    assert attic.pool.containers()["vpn"].attrs["State"]["Running"]
    attic.done("resume")
    assert "The blocks are shared already" in attic.done("resume")
    eventually(cellar.pool.works)


def expired(mesh: Mesh) -> str:
    token = mesh.invite("--ttl", "1s")

    def is_over() -> None:
        assert "expired" in mesh.seed.calyx("token", "check", token).error

    eventually(is_over)
    return token


def revoked(mesh: Mesh) -> str:
    token = mesh.invite()
    mesh.seed.done("token", "revoke", JoinToken.parse(token).id)
    return token


def of_somebody_in_between(mesh: Mesh) -> str:
    return replace(JoinToken.parse(mesh.invite()), pin="ab" * 32).text()


def of_an_authority_that_is_away(mesh: Mesh) -> str:
    return replace(JoinToken.parse(mesh.invite()), authority=f"{SEED_ADDRESS}:{free_port()}").text()


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (expired, "expired"),
        (revoked, "revoked"),
        (of_somebody_in_between, "somebody may sit in between"),
        (of_an_authority_that_is_away, "does not answer"),
    ],
)
def test_a_join_that_is_refused_says_why_and_leaves_nothing(
    mesh: Mesh, tmp_path: Path, make: Callable[[Mesh], str], reason: str
) -> None:
    with Pool() as pool:
        late = Machine(pool, tmp_path)

        assert reason in late.calyx("join", make(mesh), "--name", "late", "--yes").error
        assert pool.containers() == {}
        assert not pool.client.volumes.list(filters={"name": pool.project})
        assert late.calyx("pause").error.startswith("error: this machine is in no pool")
    assert "late" not in mesh.states()


def test_a_name_is_one_node_s_and_a_token_lets_in_as_many_as_it_says(mesh: Mesh, tmp_path: Path) -> None:
    token = mesh.invite()
    with Pool() as pool:
        late = Machine(pool, tmp_path)

        assert (
            "named attic is in the pool already"
            in late.calyx("join", token, "--name", "attic", "--yes").error
        )
        late.done("join", token, "--name", "late", "--block-indices", "0:1", "--yes")
        again = late.calyx("join", token, "--name", "late", "--yes").error
        assert "this machine is in the pool home already" in again
        late.done("stop", "--purge")
        assert "used up" in late.calyx("join", token, "--name", "late", "--yes").error
        assert pool.containers() == {}


def test_a_user_of_the_pool_asks_it_and_shares_nothing(mesh: Mesh, tmp_path: Path) -> None:
    mesh.works()
    with Pool() as pool:
        user = Machine(pool, tmp_path)
        out = user.done("join", mesh.invite("--role", "user"), "--name", "visitor", "--yes")

        assert "this machine shares no blocks" in out
        assert set(pool.containers()) == {"vpn"}
        eventually(pool.works)
        assert "shares no blocks" in user.calyx("pause").error
        user.done("stop", "--purge")
    assert mesh.states()["visitor"] == "left"


@pytest.fixture
def answering(mesh: Mesh, tmp_path: Path) -> Iterator[Machine]:
    """One more worker, which runs an endpoint too."""
    with Pool() as pool:
        machine = Machine(pool, tmp_path)
        machine.done(
            *("join", mesh.invite(), "--name", "answering", "--block-indices", "0:1", "--endpoint", "--yes")
        )
        try:
            yield machine
        finally:
            machine.calyx("stop", "--purge")


def test_where_the_seed_s_endpoint_is_away_a_member_s_answers(mesh: Mesh, answering: Machine) -> None:
    attic, address = mesh.workers[0], answering.address
    mesh.works()

    def is_ready() -> None:
        state = answering.pool.containers()["endpoint"].attrs["State"]
        assert state["Health"]["Status"] == "healthy"
        for worker in mesh.workers:
            assert f"{address}:18000" in worker.pool.read("vpn", "/vpn/haproxy.cfg")

    eventually(is_ready)
    assert attic.reaches(address, 18000)
    assert not answering.reaches(attic.address, 18000)
    assert "yes" in next(
        line for line in mesh.seed.done("nodes").splitlines() if line.startswith("answering")
    )
    endpoint = mesh.seed.pool.containers()["endpoint"]
    endpoint.stop()
    try:
        attic.pool.works()  # the very next request
        answering.pool.works()
    finally:
        endpoint.start()
    eventually(mesh.seed.pool.works)


def test_a_revoked_node_is_cut_off(mesh: Mesh, guest: Machine) -> None:
    cellar, address = mesh.workers[1], guest.address
    assert cellar.reaches(address, SERVER_PORT)

    mesh.seed.done("revoke", "guest")

    def is_cut_off() -> None:
        assert not cellar.reaches(address, SERVER_PORT)
        assert not guest.reaches(SEED_IN_MESH, 8000)

    eventually(is_cut_off, 30)
    assert mesh.states()["guest"] == "revoked"


def test_who_stops_is_gone_and_may_come_back(mesh: Mesh, guest: Machine) -> None:
    guest.done("stop")

    assert guest.pool.containers() == {}
    project = guest.pool.project
    assert [v.name for v in guest.pool.client.volumes.list(filters={"name": project})] == [
        f"{project}_weights"
    ]
    assert guest.pool.client.networks.list(names=[project]) == []
    assert mesh.states()["guest"] == "left"
    assert "this machine is in no pool" in guest.calyx("stop").error

    guest.done("join", mesh.invite(), "--name", "guest", "--block-indices", "0:2", "--yes")

    def is_back() -> None:
        assert mesh.states()["guest"] == "running"

    eventually(is_back)
