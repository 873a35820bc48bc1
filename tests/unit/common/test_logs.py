"""One event is one line, in both formats, whatever is in it."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from services.common.logs import configure
from services.common.settings import LoggingSettings


@pytest.fixture(autouse=True)
def _restored_root_logger() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def stream_of(**values: str) -> io.StringIO:
    stream = io.StringIO()
    configure(LoggingSettings.load(**values), stream)
    return stream


def test_text_is_time_level_room_message_and_fields():
    stream = stream_of()
    record = logging.makeLogRecord(
        {"name": "server", "levelname": "INFO", "levelno": 20, "msg": "loaded %d blocks", "args": (3,)}
        | {"created": 1_800_000_000.9, "model": "owner/name", "seconds": 1.5}
    )
    logging.getLogger().handle(record)
    assert (
        stream.getvalue() == "2027-01-15T08:00:00Z INFO server loaded 3 blocks model=owner/name seconds=1.5\n"
    )


@pytest.mark.parametrize(
    ("value", "printed"),
    [
        ("a b", '"a b"'),
        ('a"b', '"a\\"b"'),
        ("a=b", '"a=b"'),
        ("a\nb", '"a\\nb"'),
        ("plain", "plain"),
        (7, "7"),
    ],
)
def test_text_quotes_values_that_would_be_read_wrongly(value, printed):
    stream = stream_of()
    logging.getLogger("room").error("event", extra={"key": value})
    assert stream.getvalue().endswith(f"ERROR room event key={printed}\n")


def test_text_stays_one_line_with_a_message_of_several_and_an_exception():
    stream = stream_of()
    try:
        raise ValueError("first\nsecond")
    except ValueError:
        logging.getLogger("room").exception("reading\nthe file")
    (line,) = stream.getvalue().splitlines()
    assert "reading the file error=" in line
    assert "ValueError" in line
    assert "Traceback" not in line


def test_text_keeps_letters_of_every_language():
    stream = stream_of()
    logging.getLogger("room").info("event", extra={"reason": "Größe — falsch"})
    assert 'reason="Größe — falsch"' in stream.getvalue()


def test_the_coloured_copy_of_uvicorns_messages_is_left_out():
    stream = stream_of()
    logging.getLogger("uvicorn.error").info("started", extra={"color_message": "\x1b[1mstarted"})
    assert "INFO uvicorn.error started" in stream.getvalue()
    assert "color" not in stream.getvalue()


def test_json_holds_the_same_event():
    stream = stream_of(log_format="json")
    logging.getLogger("room").info(
        "two\nlines",
        extra={
            "model": "owner/name",
            "odd": {
                1,
            },
        },
    )
    (line,) = stream.getvalue().splitlines()
    event = json.loads(line)
    assert event.pop("time").endswith("+00:00")
    assert event == {
        "level": "INFO",
        "logger": "room",
        "message": "two\nlines",
        "model": "owner/name",
        "odd": "{1}",
    }


def test_the_level_of_the_settings_decides():
    stream = stream_of(log_level="WARNING")
    logging.getLogger("room").info("not written")
    logging.getLogger("room").warning("written")
    assert stream.getvalue().count("\n") == 1


def test_configuring_again_replaces_the_stream():
    first = stream_of()
    second = stream_of()
    logging.getLogger("room").info("event")
    assert first.getvalue() == ""
    assert "event" in second.getvalue()
