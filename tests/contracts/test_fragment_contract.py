"""What makes a node of a pool out of the stack: no right, port or secret more than that takes."""

import re
from pathlib import Path
from typing import Any

import pytest

from services.vpn.nebula_config import MEMBER_ENDPOINT_PORTS

Fragments = dict[str, dict[str, Any]]
NODES = ["compose.seed.yaml", "compose.worker.yaml"]


@pytest.mark.parametrize("name", NODES)
def test_the_sidecar_gets_the_right_over_its_own_network_and_no_other(
    fragments: Fragments, name: str
) -> None:
    vpn = fragments[name]["services"]["vpn"]

    assert vpn["cap_add"] == ["NET_ADMIN"]
    assert vpn["devices"] == ["/dev/net/tun"]
    assert not vpn.keys() & {"privileged", "cap_drop", "security_opt", "read_only", "network_mode"}


@pytest.mark.parametrize("name", NODES)
def test_nobody_else_gets_a_right(fragments: Fragments, name: str) -> None:
    for room, service in fragments[name]["services"].items():
        if room != "vpn" and service:
            assert not service.keys() & {"privileged", "cap_add", "devices", "ports"}, room


def test_the_authority_is_hardened_as_the_others_are(
    fragments: Fragments, services: dict[str, dict[str, Any]]
) -> None:
    authority, model = fragments["compose.seed.yaml"]["services"]["authority"], services["bootstrap"]

    for key in ("user", "init", "read_only", "cap_drop", "security_opt", "pull_policy", "restart", "logging"):
        assert authority[key] == model[key], key
    assert authority.keys() >= {"mem_limit", "pids_limit", "cpus", "healthcheck", "stop_grace_period"}


def test_in_the_public_swarm_nobody_gets_a_right(fragments: Fragments) -> None:
    for room, service in fragments["compose.public.yaml"]["services"].items():
        assert not (service or {}).keys() - {"environment", "ports", "depends_on", "volumes"}, room


def test_a_server_of_the_public_swarm_has_one_port_inside_and_outside(fragments: Fragments) -> None:
    services = fragments["compose.public.yaml"]["services"]

    assert services["vpn"]["ports"] == ["${CALYX_SERVER_PORT:-31331}:${CALYX_SERVER_PORT:-31331}"]
    assert services["server"]["environment"].keys() >= {"CALYX_SERVER_PORT", "CALYX_RELAYS"}
    assert not any("ports" in service for name, service in services.items() if service and name != "vpn")


def test_only_a_seed_is_reached_from_other_machines(fragments: Fragments) -> None:
    seed, worker = (fragments[name]["services"]["vpn"] for name in NODES)

    assert [port.rpartition("}:")[2] for port in seed["ports"]] == ["4242/udp", "7443"]
    assert "ports" not in worker


@pytest.mark.parametrize("name", NODES)
def test_every_volume_says_what_losing_it_costs(root: Path, fragments: Fragments, name: str) -> None:
    text = (root / name).read_text()

    for volume in fragments[name]["volumes"]:
        assert re.search(rf"\n  {volume}: (# losing it |!reset)", text, re.IGNORECASE), volume


def test_a_worker_runs_an_endpoint_only_if_asked_where_the_pool_looks_for_it(fragments: Fragments) -> None:
    endpoint = fragments["compose.worker.yaml"]["services"]["endpoint"]
    variables = ("CALYX_ENDPOINT_LISTEN_PORT", "CALYX_GRPC_LISTEN_PORT")

    assert endpoint["profiles"] == ["endpoint"]
    assert tuple(int(endpoint["environment"][name]) for name in variables) == MEMBER_ENDPOINT_PORTS
    assert "pool:/pool:ro" not in endpoint["volumes"]
