"""The kill switch's rules; that the kernel means the same by them is tested with containers."""

import pytest

from services.vpn.firewall import WATCHER, ruleset
from services.vpn.nebula_config import Mode


def chain(rules: str, name: str) -> list[str]:
    body = rules.split(f" chain {name} {{\n")[1].split("\n }", maxsplit=1)[0]
    return [line.strip() for line in body.splitlines()]


@pytest.mark.parametrize("mode", ["lighthouse", "member"])
@pytest.mark.parametrize("name", ["output", "input", "forward"])
def test_what_no_rule_names_is_dropped(mode: Mode, name: str) -> None:
    assert chain(ruleset(mode, "172.18.0.1", [443]), name)[0].endswith("policy drop;")


def test_loading_them_again_replaces_them() -> None:
    assert ruleset("member", None, []).splitlines()[:2] == ["table inet calyx", "delete table inet calyx"]


def test_downloads_may_leave_by_the_named_ports_only() -> None:
    assert "tcp dport { 443, 8443 } accept" in chain(ruleset("member", None, [443, 8443]), "output")
    assert not [rule for rule in chain(ruleset("member", None, []), "output") if "tcp dport" in rule]


def test_only_a_seed_lets_strangers_enrol() -> None:
    seed, worker = (chain(ruleset(mode, None, []), "input") for mode in ("lighthouse", "member"))

    assert set(seed) - set(worker) == {"tcp dport 7443 accept"}


def test_this_machine_and_its_prometheus_alone_reach_endpoint_and_health_page_from_outside() -> None:
    machine = "ip saddr 172.18.0.1 tcp dport { 8000, 8001, 8080 } accept"
    prometheus = f"ether saddr {WATCHER} tcp dport {{ 8000, 8080 }} accept"

    for gateway, allowed in (("172.18.0.1", [machine, prometheus]), (None, [prometheus])):
        rules = chain(ruleset("member", gateway, []), "input")
        assert [rule for rule in rules if "8000" in rule] == allowed
