"""The shared stack with a Prometheus of the monitoring profile beside it."""

from collections.abc import Iterator

import pytest

from tests.integration.stack.pool import Finished, Pool, eventually


@pytest.fixture(scope="module")
def asked(shared_pool: Pool) -> Iterator[tuple[Pool, Finished]]:
    """The stack, and what ``up --monitoring`` wrote; what it added is taken away again."""
    yield shared_pool, shared_pool.up("--monitoring")
    shared_pool.containers()["prometheus"].remove(force=True)


@pytest.fixture
def watched(asked: tuple[Pool, Finished]) -> Pool:
    return asked[0]


def test_up_says_where_it_is_and_it_hears_from_everybody(asked: tuple[Pool, Finished]) -> None:
    pool, done = asked

    assert f"http://{pool.prometheus}" in done.out
    eventually(pool.is_watched)


def test_it_judges_what_it_hears(watched: Pool) -> None:
    def has_judged() -> None:
        (group,) = watched.get(watched.prometheus, "/api/v1/rules").json()["data"]["groups"]
        assert {rule["health"] for rule in group["rules"]} == {"ok"}

    eventually(has_judged)


def test_a_later_up_leaves_it_as_it_is(watched: Pool) -> None:
    before = watched.starts()

    watched.up("--no-build")

    assert "prometheus" in before
    assert watched.starts() == before


def test_it_is_hardened_as_the_others_are(watched: Pool) -> None:
    containers = watched.containers()
    prometheus, health = (containers[name].attrs for name in ("prometheus", "health"))

    assert prometheus["Config"]["User"] == health["Config"]["User"]
    for key in ("ReadonlyRootfs", "Privileged", "CapDrop", "CapAdd", "SecurityOpt", "LogConfig", "Devices"):
        assert prometheus["HostConfig"][key] == health["HostConfig"][key], key
    (bindings,) = filter(None, prometheus["NetworkSettings"]["Ports"].values())
    assert {binding["HostIp"] for binding in bindings} == {"127.0.0.1"}


def test_it_notices_that_the_node_is_away_and_finds_it_again(watched: Pool) -> None:
    vpn = watched.containers()["vpn"]

    vpn.stop()
    eventually(lambda: _hears_nobody(watched))
    vpn.start()

    eventually(watched.is_watched)
    eventually(watched.works)


def _hears_nobody(pool: Pool) -> None:
    assert set(pool.targets().values()) == {"down"}
