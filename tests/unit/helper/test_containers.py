from scripts.helper.containers import in_start_order, orphans, stale
from tests.unit.helper.helper_fakes import container, moment


def test_containers_start_after_those_they_need() -> None:
    found = in_start_order(
        [
            container("endpoint", depends_on=("vpn", "bootstrap")),
            container("bootstrap", depends_on=("vpn",)),
            container("vpn"),
            container("server", depends_on=("bootstrap", "gone")),
        ]
    )
    names = [item.service for item in found]
    assert names[0] == "vpn"
    assert names[1] == "bootstrap"
    assert set(names[2:]) == {"endpoint", "server"}


def test_a_circle_is_no_reason_to_fail() -> None:
    found = in_start_order([container("a", depends_on=("b",)), container("b", depends_on=("a",))])
    assert {item.service for item in found} == {"a", "b"}


def test_whose_network_was_made_anew() -> None:
    vpn = container("vpn", identity="new")
    server = container("server", network_owner="old")
    endpoint = container("endpoint", network_owner="new")
    assert orphans([vpn, server, endpoint]) == [server]


def test_whose_network_was_restarted_after_it() -> None:
    vpn = container("vpn", identity="v", started_at=moment(30))
    before = container("server", network_owner="v", started_at=moment(10))
    after = container("endpoint", network_owner="v", started_at=moment(40))
    stopped = container("health", "exited", network_owner="v", started_at=moment(10))
    assert stale([vpn, before, after, stopped]) == [before]


def test_ready_means_running_and_healthy_as_far_as_it_says() -> None:
    assert container("a").ready
    assert container("a", health=None).ready
    assert not container("a", health="starting").ready
    assert not container("a", "exited").ready
