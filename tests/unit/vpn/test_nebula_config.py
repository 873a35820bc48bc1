"""What Nebula is told."""

import json
from pathlib import Path
from typing import Any

from services.vpn.nebula_config import Mode, render
from tests.unit.vpn.members import member


def config(mode: Mode, **changes: Any) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(render(member(**changes), mode, Path("/vpn"), "ssh-ed25519 AAAA"))
    return document


def opened(rules: list[dict[str, Any]]) -> set[tuple[Any, Any, Any]]:
    return {(rule["proto"], rule["port"], rule.get("group", rule.get("host"))) for rule in rules}


def test_a_member_asks_the_lighthouse_where_others_are_and_lets_it_relay() -> None:
    rendered = config("member")

    assert rendered["static_host_map"] == {"10.77.0.1": ["203.0.113.7:4242"]}
    assert rendered["lighthouse"]["hosts"] == rendered["relay"]["relays"] == ["10.77.0.1"]
    assert not rendered["lighthouse"]["am_lighthouse"]
    assert not rendered["relay"]["am_relay"]
    assert rendered["punchy"]["punch"]


def test_a_lighthouse_listens_where_it_is_published_and_relays() -> None:
    rendered = config("lighthouse")

    assert rendered["listen"]["port"] == 4242
    assert rendered["lighthouse"]["am_lighthouse"]
    assert rendered["relay"]["am_relay"]
    assert rendered["lighthouse"]["hosts"] == []  # Nebula refuses to start a lighthouse that has one
    assert rendered["static_host_map"] == {}


def test_members_reach_each_other_s_petals_port_and_nothing_else() -> None:
    assert opened(config("member")["firewall"]["inbound"]) == {
        ("icmp", "any", "any"),
        ("tcp", "31330-31331", "seed"),
        ("tcp", "31330-31331", "worker"),
    }


def test_every_member_reaches_the_seed_s_endpoint_and_health_page() -> None:
    seed, worker = (opened(config(mode)["firewall"]["inbound"]) for mode in ("lighthouse", "member"))

    assert seed - worker == {("tcp", port, "member") for port in (8000, 8001, 8080)}


def test_a_member_s_endpoint_is_opened_to_members_where_it_runs_one() -> None:
    without, with_endpoint = (
        opened(
            json.loads(render(member(), "member", Path("/vpn"), "", own_endpoint=own))["firewall"]["inbound"]
        )
        for own in (False, True)
    )

    assert with_endpoint - without == {("tcp", port, "member") for port in (18000, 18001)}


def test_a_revoked_certificate_is_blocked_and_its_tunnels_are_ended() -> None:
    rendered = config("member", blocklist=["bb", "aa"])

    assert rendered["pki"]["blocklist"] == ["aa", "bb"]
    assert rendered["pki"]["disconnect_invalid"] is True


def test_the_console_is_on_the_loopback_for_whoever_has_the_key() -> None:
    console = config("member")["sshd"]

    assert console["listen"].startswith("127.0.0.1:")
    assert console["host_key"] == "/vpn/console.key"
    assert console["authorized_users"] == [{"user": "calyx", "keys": ["ssh-ed25519 AAAA"]}]
