from pathlib import Path

import pytest

from services.common.errors import Unavailable
from services.common.heartbeat import Heartbeat
from services.vpn.supervisor import supervise


class ScriptedTunnel:
    """Gives one prepared answer per check: a line, or the error to raise."""

    def __init__(self, *answers: str | Exception) -> None:
        self._answers = iter(answers)
        self.closed = False

    def check(self) -> str:
        answer = next(self._answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def heartbeat(tmp_path: Path) -> Heartbeat:
    return Heartbeat(tmp_path / "heartbeat.json")


def watch(tunnel: ScriptedTunnel, heartbeat: Heartbeat, rounds: int) -> list[tuple[bool, str]]:
    """Run the loop for ``rounds`` checks and return what the health check saw after each."""
    seen: list[tuple[bool, str]] = []

    def stop_asked_within(_seconds: float) -> bool:
        seen.append(heartbeat.read())
        return len(seen) == rounds

    supervise(tunnel, heartbeat, stop_asked_within)
    return seen


def test_health_follows_the_tunnel_down_and_up_again(heartbeat: Heartbeat) -> None:
    tunnel = ScriptedTunnel("up", Unavailable("down", "wait"), "up again")

    assert watch(tunnel, heartbeat, rounds=3) == [(True, "up"), (False, "down — wait"), (True, "up again")]


def test_only_changes_are_logged(heartbeat: Heartbeat, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")

    watch(ScriptedTunnel("up", "up", Unavailable("down"), Unavailable("down"), "up"), heartbeat, rounds=5)

    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("INFO", "up"),
        ("WARNING", "down"),
        ("INFO", "up"),
    ]


def test_a_fault_of_ours_is_not_reported_as_a_network_that_is_down(heartbeat: Heartbeat) -> None:
    with pytest.raises(ZeroDivisionError):
        watch(ScriptedTunnel(ZeroDivisionError()), heartbeat, rounds=1)

    assert heartbeat.read() == (False, "not checked yet")


def test_the_tunnel_ends_with_the_sidecar(heartbeat: Heartbeat) -> None:
    tunnel = ScriptedTunnel("up")

    watch(tunnel, heartbeat, rounds=1)

    assert tunnel.closed
