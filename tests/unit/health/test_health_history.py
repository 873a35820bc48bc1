"""The ring keeps a day, survives a restart and harms nothing when its disk does not work."""

import sqlite3

import pytest

from services.health.history import MINUTES, History
from services.health.page.plot import WIDTH, plot
from services.health.snapshot import Model, take_snapshot
from tests.unit.health.swarm_fakes import model, server

NAME = "tiny-hf"


def seen(servers: int, end_block: int = 4) -> list[Model]:
    some = [server(peer_id=f"p{number}", end_block=end_block) for number in range(servers)]
    return list(take_snapshot([model(*some)], 0.0).models)


def counts(history: History) -> list[tuple[int, int, int]]:
    return [(point.minute, point.blocks_online, point.servers_online) for point in history.points(NAME)]


def test_of_several_looks_in_a_minute_the_worst_counts(history):
    for now, servers in ((0.0, 3), (10.0, 0), (50.0, 2), (60.0, 5)):
        history.record(seen(servers), now)
    assert counts(history) == [(0, 0, 0), (1, 4, 5)]


def test_keeps_a_day_and_not_more(history):
    for minute in range(MINUTES + 30):
        history.record(seen(1), 60.0 * minute)
    assert [minute for minute, *_ in counts(history)] == list(range(30, MINUTES + 30))


def test_a_model_that_left_is_forgotten_after_a_day(history):
    history.record(seen(1), 0.0)
    history.record([], 60.0 * MINUTES)
    assert counts(history) == []


def test_a_clock_that_goes_back_leaves_no_future(history):
    history.record(seen(1), 6000.0)
    history.record(seen(2), 600.0)
    assert counts(history) == [(10, 4, 2)]


def test_outlives_the_process(tmp_path):
    first = History(tmp_path / "history.sqlite3")
    first.record(seen(2), 0.0)
    first.close()
    assert counts(History(tmp_path / "history.sqlite3")) == [(0, 4, 2)]


@pytest.mark.parametrize("content", [None, b"not a database" * 100])
def test_a_file_that_cannot_be_used_is_replaced_by_memory(tmp_path, caplog, content):
    path = tmp_path / "missing" / "file"
    if content is not None:
        path.parent.mkdir()
        path.write_bytes(content)
    history = History(path)
    history.record(seen(1), 0.0)
    assert counts(history) == [(0, 4, 1)]
    assert "history is kept in memory" in caplog.text


def test_an_error_later_costs_a_minute_and_nothing_else(history, caplog):
    history.close()
    history.record(seen(1), 0.0)
    assert history.points(NAME) == []
    assert "history misses a minute" in caplog.text
    with pytest.raises(sqlite3.ProgrammingError):
        history._database.execute("SELECT 1")


def test_the_plot_says_in_words_what_it_draws(history):
    for minute in range(600, 720):
        history.record(seen(2 if minute < 690 else 1, end_block=4 if minute < 660 else 3), 60.0 * minute)
    drawn = plot(history.points(NAME), 60.0 * 720)
    assert drawn is not None
    assert drawn.words == "Ready 50 % of the last 2 hours, 1 to 2 servers online"
    assert drawn.ready == ((478.0, 120.0),)
    assert drawn.broken == ((598.0, 120.0),)
    assert len(drawn.lines) == 1


def test_a_gap_in_the_plot_is_a_gap(history):
    for minute in (1000, 1001, 1100, 1101):
        history.record(seen(1), 60.0 * minute)
    drawn = plot(history.points(NAME), 60.0 * 1101)
    assert drawn is not None
    assert (len(drawn.lines), len(drawn.ready)) == (2, 2)
    assert all(start >= 0 and start + width <= WIDTH for start, width in drawn.ready)


def test_one_minute_is_too_little_to_plot(history):
    history.record(seen(1), 0.0)
    assert plot(history.points(NAME), 0.0) is None
