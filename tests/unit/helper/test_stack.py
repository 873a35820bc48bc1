from dataclasses import replace

import pytest

from scripts.helper.containers import Container
from scripts.helper.stack import Stack
from services.common.errors import Unavailable
from tests.unit.helper.helper_fakes import FakeTime, Written, container, moment


class FakeEngine:
    """Containers that become healthy some seconds after their start, unless told otherwise."""

    def __init__(self, time: FakeTime, *containers: Container) -> None:
        self.time = time
        self.all = {item.service: item for item in containers}
        self.takes = dict.fromkeys(self.all, 2.0)
        self.fate: dict[str, dict[str, object]] = {}
        self.lines = dict.fromkeys(self.all, "")
        self.done: list[str] = []
        self._ready_at: dict[str, float] = {}
        time.on_sleep = self._evolve

    def containers(self, project: str) -> list[Container]:
        return list(self.all.values())

    def start(self, identity: str) -> None:
        self._begin("start", identity)

    def restart(self, identity: str) -> None:
        self._begin("restart", identity)

    def last_log_lines(self, identity: str, count: int) -> list[str]:
        return self.lines[self._service(identity)].splitlines()[-count:]

    def create(self) -> None:
        self.done.append("create")

    def recreate(self, services: list[str]) -> None:
        self.done.append(f"recreate {' '.join(services)}")
        for service in services:
            self.all[service] = replace(
                self.all[service], state="created", network_owner=self.all["vpn"].identity
            )

    def _service(self, identity: str) -> str:
        return next(name for name, item in self.all.items() if item.identity == identity)

    def _begin(self, verb: str, identity: str) -> None:
        service = self._service(identity)
        self.done.append(f"{verb} {service}")
        self._ready_at[service] = self.time.seconds + self.takes[service]
        self.all[service] = replace(
            self.all[service], state="running", health="starting", started_at=moment(int(self.time.seconds))
        )

    def _evolve(self) -> None:
        for service, ready_at in self._ready_at.items():
            if self.time.seconds >= ready_at and self.all[service].health == "starting":
                changes = self.fate.get(service, {"health": "healthy"})
                self.all[service] = replace(self.all[service], **changes)  # type: ignore[arg-type]


class Bench:
    """A stack of four services that were just made, one sharing the network of another."""

    def __init__(self, *containers: Container, limit: float = 100.0) -> None:
        self.time = FakeTime()
        self.engine = FakeEngine(self.time, *(containers or made()))
        self.steps = Written()
        self.limit = limit
        self.stack = self.stack_with()

    def stack_with(self, **options: frozenset[str]) -> Stack:
        timer = self.time.timer(self.limit)
        return Stack(self.engine, self.engine, "calyx", self.steps, timer, **options)

    def refuse(self) -> str:
        with pytest.raises(Unavailable) as caught:
            self.stack.bring_up()
        return str(caught.value)


def made(state: str = "created", **values: object) -> tuple[Container, ...]:
    ordinary = {"network_owner": "id-vpn", "depends_on": ("vpn",), "started_at": moment(5), **values}
    return (
        container("vpn", state, started_at=moment(0)),
        container("bootstrap", state, **ordinary),
        container("endpoint", state, **{**ordinary, "depends_on": ("vpn", "bootstrap")}),
        container("server", state, **{**ordinary, "depends_on": ("vpn", "bootstrap")}),
    )


def test_each_service_starts_when_those_it_needs_are_healthy() -> None:
    bench = Bench()
    bench.stack.bring_up()
    assert bench.engine.done[:3] == ["create", "start vpn", "start bootstrap"]
    assert bench.time.seconds >= 6  # three generations of two seconds each
    assert [line.split("] ")[1] for line in bench.steps.text.splitlines()][:2] == [
        "vpn: the node's network is up",
        "bootstrap: bootstrap peer is up",
    ]


def test_services_that_need_the_same_do_not_wait_for_each_other() -> None:
    bench = Bench()
    # The endpoint has the whole model only once the server serves it; its name comes first all the same.
    bench.engine.takes |= {"endpoint": 60.0, "server": 50.0}
    bench.stack.bring_up()
    assert bench.time.seconds < 70


def test_on_a_running_stack_nothing_is_started() -> None:
    bench = Bench(*made("running"))
    bench.stack.bring_up()
    assert bench.engine.done == ["create"]


def test_a_service_that_sleeps_is_neither_started_nor_waited_for() -> None:
    bench = Bench()

    bench.stack_with(asleep=frozenset({"server"})).bring_up()

    assert "start server" not in bench.engine.done
    assert "start endpoint" in bench.engine.done


def test_a_service_that_is_not_awaited_is_started() -> None:
    bench = Bench()
    bench.engine.takes["endpoint"] = 1e6

    bench.stack_with(unawaited=frozenset({"endpoint"})).bring_up()

    assert "start endpoint" in bench.engine.done


def test_a_container_that_ends_is_reported_at_once_with_its_last_line() -> None:
    bench = Bench()
    bench.engine.fate["server"] = {"state": "restarting", "exit_code": 3}
    bench.engine.lines["server"] = "a block needs 9 GB, free are 2 GB"
    assert bench.refuse() == (
        "server ended with exit code 3: a block needs 9 GB, free are 2 GB — "
        "./scripts/calyx logs server shows more"
    )
    assert bench.time.seconds < 20


def test_why_a_container_ended_is_told_although_it_runs_again() -> None:
    bench = Bench()
    bench.engine.fate["server"] = {"restarts": 1}
    bench.engine.lines["server"] = "12:00:01Z ERROR server no peer answers\n12:00:02Z INFO server starting"

    assert "server no peer answers" in bench.refuse()


def test_a_container_that_the_engine_started_again_meanwhile_is_reported() -> None:
    bench = Bench()
    bench.engine.fate["bootstrap"] = {"restarts": 1}
    assert bench.refuse().startswith("bootstrap ended with exit code 0")


def test_an_unhealthy_container_is_reported_at_once() -> None:
    bench = Bench()
    bench.engine.fate["endpoint"] = {"health": "unhealthy"}
    assert bench.refuse().startswith("endpoint is unhealthy")


def test_waiting_ends_at_the_limit() -> None:
    bench = Bench(limit=30)
    bench.engine.takes["bootstrap"] = 10_000
    assert bench.refuse().startswith("bootstrap was not ready in time (--timeout)")
    assert 30 <= bench.time.seconds < 40


def test_loading_is_shown_as_it_goes_on() -> None:
    bench = Bench()
    bench.engine.lines["server"] = "2026-01-01T00:00:00Z INFO server loaded block block=12 done=13 of=30"
    bench.stack.bring_up()
    assert bench.steps.text.count("server: loaded block 13 of 30\n") == 1


def test_what_runs_but_does_not_work_is_restarted() -> None:
    vpn, bootstrap, endpoint, server = made("running")
    bench = Bench(vpn, bootstrap, endpoint, replace(server, health="unhealthy"))
    bench.stack.bring_up()
    assert bench.engine.done == ["create", "restart server"]


def test_what_lost_its_network_to_a_restart_is_restarted() -> None:
    vpn, *others = made("running")
    bench = Bench(replace(vpn, started_at=moment(50)), *others)
    bench.time.seconds = 55
    bench.stack.bring_up()
    assert sorted(bench.engine.done[1:]) == ["restart bootstrap", "restart endpoint", "restart server"]


def test_what_lost_its_network_to_a_new_container_is_made_anew() -> None:
    vpn, *others = made("running")
    bench = Bench(replace(vpn, identity="another"), *others)
    bench.stack.bring_up()
    assert bench.engine.done[:2] == ["create", "recreate bootstrap endpoint server"]
    assert "start server" in bench.engine.done


def test_containers_that_vanish_are_reported() -> None:
    bench = Bench()
    bench.time.on_sleep = bench.engine.all.clear
    assert bench.refuse() == "the containers are gone — run ./scripts/calyx up again"


def test_who_needs_a_service_only_started_does_not_wait_for_its_health() -> None:
    authority = container(
        "authority", "created", depends_on=("vpn",), only_started=("vpn",), network_owner="id-vpn"
    )
    bench = Bench(*made(), authority)
    bench.engine.takes["vpn"] = 30.0
    bench.stack.bring_up()

    assert bench.engine.done[:4] == ["create", "start vpn", "start authority", "start bootstrap"]
