"""What every container of the stack has, whoever adds the next one."""

from pathlib import Path
from typing import Any

import pytest

from services.vpn.firewall import WATCHER

Services = dict[str, dict[str, Any]]
OUTSIDE = {"prometheus"}
"""Watches the node's network and is not in it, see docs/adr/0006."""


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("user", "10001:10001"),
        ("init", True),
        ("read_only", True),
        ("cap_drop", ["ALL"]),
        ("security_opt", ["no-new-privileges:true"]),
        ("pull_policy", "never"),
        ("restart", "unless-stopped"),
    ],
)
def test_every_container_is_hardened(services: Services, key: str, value: object) -> None:
    assert {name: service.get(key) for name, service in services.items()} == dict.fromkeys(services, value)


@pytest.mark.parametrize("key", ["mem_limit", "pids_limit", "stop_grace_period", "healthcheck", "build"])
def test_every_container_is_limited_and_checked(services: Services, key: str) -> None:
    assert [name for name, service in services.items() if not service.get(key)] == []


def test_no_container_has_rights_that_hardening_took(services: Services) -> None:
    for name, service in services.items():
        assert not service.keys() & {"privileged", "cap_add", "devices", "pid", "ipc", "userns_mode"}, name
        assert "docker.sock" not in str(service.get("volumes")), name


def test_logs_are_bounded(services: Services) -> None:
    for name, service in services.items():
        assert service["logging"]["options"].keys() >= {"max-size", "max-file"}, name


def test_ports_are_published_by_the_network_s_owner_alone_and_on_the_loopback(services: Services) -> None:
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}

    assert published.keys() == {"vpn"} | OUTSIDE
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)


def test_the_others_share_the_network_of_vpn_and_restart_with_it(services: Services) -> None:
    for name in services.keys() - {"vpn"} - OUTSIDE:
        assert services[name]["network_mode"] == "service:vpn", name
        assert services[name]["depends_on"]["vpn"] == {"condition": "service_healthy", "restart": True}, name


def test_what_watches_starts_on_request_waits_for_nobody_and_is_known_to_the_wall(services: Services) -> None:
    prometheus = services["prometheus"]

    assert prometheus["profiles"] == ["monitoring"]
    assert not prometheus.keys() & {"network_mode", "depends_on", "environment"}
    assert prometheus["networks"] == {"default": {"mac_address": WATCHER}}


def test_waiting_means_waiting_for_health(services: Services) -> None:
    conditions = {
        dependency["condition"]
        for service in services.values()
        for dependency in service.get("depends_on", {}).values()
    }

    assert conditions == {"service_healthy"}


def test_a_container_is_probed_by_its_own_room(services: Services) -> None:
    for name in services.keys() - OUTSIDE:
        assert services[name]["healthcheck"]["test"][-2:] == ["-m", f"services.{name}.probe"]


def test_only_the_bootstrap_peer_writes_the_address_that_others_read(services: Services) -> None:
    writers = {name for name, service in services.items() if "pool:/pool" in service.get("volumes", [])}

    assert writers == {"bootstrap"}


def test_every_named_volume_says_what_losing_it_costs(root: Path, compose: dict[str, Any]) -> None:
    text = (root / "compose.yaml").read_text()

    for volume in compose["volumes"]:
        assert f"\n  {volume}: # losing it " in text
