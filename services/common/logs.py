"""One line per event, ``key=value`` for people or JSON for collectors. Never a prompt, never a secret."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import TextIO

from services.common.settings.logging import LoggingSettings

# "color_message" is uvicorn's message once more, for terminals.
_STANDARD_FIELDS = frozenset({*vars(logging.makeLogRecord({})), "color_message"})


def _event_fields(record: logging.LogRecord) -> dict[str, object]:
    extra = {key: value for key, value in vars(record).items() if key not in _STANDARD_FIELDS}
    if record.exc_info and record.exc_info[1] is not None:
        extra["error"] = repr(record.exc_info[1])
    return extra


class _KeyValueFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """Render ``2026-01-01T00:00:00Z INFO room message key=value``."""
        time = datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        message = " ".join(record.getMessage().split())
        extra = "".join(f" {key}={_quoted(value)}" for key, value in _event_fields(record).items())
        return f"{time} {record.levelname} {record.name} {message}{extra}"


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """Render one JSON object with ``time``, ``level``, ``logger``, ``message`` and the event's fields."""
        return json.dumps(
            {
                "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
                "level": record.levelname,
                "logger": record.name,
                "message": record.getMessage(),
                **_event_fields(record),
            },
            default=str,
        )


def _quoted(value: object) -> str:
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if any(character in text for character in ' "=\n') else text


def configure(settings: LoggingSettings, stream: TextIO = sys.stderr) -> None:
    """Send every logger of this process to ``stream`` in the format that the settings name."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_JsonFormatter() if settings.log_format == "json" else _KeyValueFormatter())
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)


def discreet(record: logging.LogRecord) -> bool:
    """Leave only the kind of an exception in uvicorn's log: its message may quote what a client sent."""
    vars(record).pop("color_message", None)  # the message again, for terminals
    if record.exc_info and record.exc_info[0] is not None:
        record.kind = record.exc_info[0].__name__
        record.exc_info = None
    return True


def place_of(error: BaseException) -> str:
    """Return the file and line that raised ``error``."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else "unknown"
