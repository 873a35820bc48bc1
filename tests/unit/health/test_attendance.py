"""Who announced when, and who left how."""

import pytest

from services.common.server_figures import ServerFigures
from services.health.attendance import MAX_DEPARTED, Attendance
from tests.unit.health.swarm_fakes import model, server

KEY = ("tiny-hf", "12D3KooWExamplePeer1")


def test_an_announcement_is_new_when_it_ends_later():
    attendance = Attendance()
    for now, expires_at in ((100.0, 160.0), (110.0, 160.0), (120.0, 180.0)):
        attendance.note([model(server(expires_at=expires_at))], now)
    assert attendance.announced_at == {KEY: 120.0}


@pytest.mark.parametrize(
    ("last_words", "state"),
    [
        ({"state": "online"}, "lost"),
        ({"state": "joining"}, "lost"),
        ({"state": "offline"}, "offline"),
        ({"state": "offline", "figures": ServerFigures()}, "offline"),
        ({"state": "offline", "figures": ServerFigures(paused=True)}, "paused"),
    ],
)
def test_who_left_is_remembered_with_its_last_words(last_words, state):
    attendance = Attendance()
    attendance.note([model(server(**last_words))], 100.0)
    assert attendance.departed == ()
    attendance.note([], 110.0)
    (one,) = attendance.departed
    assert (one.state, one.left_at, one.model, one.public_name) == (state, 110.0, "tiny-hf", "shelf")


def test_who_comes_back_is_gone_no_more():
    attendance = Attendance()
    for records in ([model(server())], [], [model(server())]):
        attendance.note(records, 100.0)
    assert attendance.departed == ()


@pytest.mark.parametrize(("paused", "seconds"), [(False, 3600), (True, 24 * 3600)])
def test_who_left_is_forgotten_in_the_end(paused, seconds):
    attendance = Attendance()
    attendance.note([model(server(state="offline", figures=ServerFigures(paused=paused)))], 0.0)
    attendance.note([], 1.0)
    attendance.note([], seconds)
    assert len(attendance.departed) == 1
    attendance.note([], seconds + 1)
    assert attendance.departed == ()


def test_a_crowd_that_leaves_is_cut():
    attendance = Attendance()
    attendance.note([model(*[server(peer_id=f"p{number}") for number in range(MAX_DEPARTED + 9)])], 0.0)
    attendance.note([], 1.0)
    assert len(attendance.departed) == MAX_DEPARTED


def serving(tokens: int | None, expires_at: float):
    figures = None if tokens is None else ServerFigures(tokens_total=tokens)
    return [model(server(figures=figures, expires_at=expires_at))]


@pytest.mark.parametrize(
    ("announcements", "speed"),
    [
        ([(100, 60.0)], None),
        ([(100, 60.0), (100, 60.0)], None),
        ([(100, 60.0), (150, 80.0)], 2.5),
        ([(100, 60.0), (150, 80.0), (150, 80.0)], 2.5),
        ([(100, 60.0), (150, 80.0), (150, 100.0)], 0.0),
        ([(100, 60.0), (150, 60.5)], None),
        ([(150, 60.0), (0, 80.0)], None),
        ([(150, 80.0), (200, 60.0)], None),
        ([(None, 60.0), (100, 80.0)], None),
        ([(100, 60.0), (None, 80.0)], None),
    ],
)
def test_a_speed_is_what_was_served_between_two_announcements(announcements, speed):
    attendance = Attendance()
    for number, (tokens, expires_at) in enumerate(announcements):
        attendance.note(serving(tokens, expires_at), 10.0 * number)
    assert attendance.tokens_per_second == ({} if speed is None else {KEY: speed})
