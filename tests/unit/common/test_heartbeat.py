"""A verdict counts while it is fresh; no verdict, an old one and a broken one are unhealthy."""

from pathlib import Path

import pytest

from services.common.heartbeat import Heartbeat, run_probe


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def heartbeat(tmp_path: Path, clock: Clock) -> Heartbeat:
    return Heartbeat(tmp_path / "heartbeat.json", lifetime=60.0, clock=clock)


def test_starts_unhealthy(heartbeat):
    assert heartbeat.read() == (False, "not checked yet")


@pytest.mark.parametrize("healthy", [True, False])
def test_says_the_latest_verdict(heartbeat, healthy):
    heartbeat.beat(not healthy, "before")
    heartbeat.beat(healthy, "serves blocks 0:15")
    assert heartbeat.read() == (healthy, "serves blocks 0:15")


def test_a_verdict_ages(heartbeat, clock):
    heartbeat.beat(True, "fine")
    clock.now += 60.0
    assert heartbeat.read() == (True, "fine")
    clock.now += 1.0
    assert heartbeat.read() == (False, "last checked 61 s ago, limit 60 s")


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", "{}", '{"time": "soon"}', '{"time": 1000.0}', "\x00"]
)
def test_a_broken_file_is_unhealthy(heartbeat, tmp_path, content):
    (tmp_path / "heartbeat.json").write_text(content)
    healthy, detail = heartbeat.read()
    assert not healthy
    assert "is unreadable" in detail


def test_a_beat_leaves_one_whole_file(heartbeat, tmp_path):
    heartbeat.beat(True, "fine")
    heartbeat.beat(True, "fine")
    assert [path.name for path in tmp_path.iterdir()] == ["heartbeat.json"]


def test_the_probe_prints_the_verdict_and_gives_dockers_exit_code(heartbeat, capsys):
    assert run_probe(heartbeat) == 1
    heartbeat.beat(True, "serves blocks 0:15")
    assert run_probe(heartbeat) == 0
    assert capsys.readouterr().out == "not checked yet\nserves blocks 0:15\n"
