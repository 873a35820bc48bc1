"""Which ports of this machine a node publishes, and which of them its pool remembers."""

import pytest

from scripts.helper.pools import Pool
from scripts.helper.ports import wanted_ports
from services.common.errors import InvalidSetting

STACK = {"CALYX_ENDPOINT_PORT": 8000, "CALYX_GRPC_PORT": 8001, "CALYX_HEALTH_PORT": 8080}


@pytest.fixture(autouse=True)
def _nothing_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*STACK, "CALYX_AUTHORITY_PORT", "CALYX_PROMETHEUS_PORT", "CALYX_SERVER_PORT"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("pool", "ports"),
    [
        (None, STACK),
        (Pool("home", "calyx-home", "worker"), STACK),
        (Pool("home", "calyx-home", "seed"), STACK | {"CALYX_AUTHORITY_PORT": 7443}),
        (Pool("public", "calyx-public", "public"), STACK | {"CALYX_SERVER_PORT": 31331}),
    ],
)
def test_each_kind_of_node_has_its_own(pool: Pool | None, ports: dict[str, int]) -> None:
    assert wanted_ports(pool) == ports


def test_prometheus_has_a_port_where_it_runs() -> None:
    assert wanted_ports(None, monitoring=True) == STACK | {"CALYX_PROMETHEUS_PORT": 9090}


def test_what_a_pool_remembers_comes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALYX_ENDPOINT_PORT", "9000")
    monkeypatch.setenv("CALYX_HEALTH_PORT", "9080")
    pool = Pool("home", "calyx-home", "worker", {"CALYX_ENDPOINT_PORT": "7000", "CALYX_NODE_NAME": "attic"})

    assert wanted_ports(pool) == {
        "CALYX_ENDPOINT_PORT": 7000,
        "CALYX_GRPC_PORT": 8001,
        "CALYX_HEALTH_PORT": 9080,
    }


def test_a_port_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALYX_SERVER_PORT", "70000")

    with pytest.raises(InvalidSetting, match="setting CALYX_SERVER_PORT"):
        wanted_ports(Pool("public", "calyx-public", "public"))
