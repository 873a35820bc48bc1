"""Spans of time as people write them: a number and its unit, such as ``90s``, ``30m``, ``24h`` or ``7d``."""

import re
from typing import Annotated

from pydantic import BeforeValidator

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 24 * 3600}


def seconds(text: str) -> int:
    """Return the seconds of a duration.

    Raises:
        ValueError: ``text`` is none; the message says so in words for people.
    """
    match = re.fullmatch(r"(\d{1,9})([smhd])", text, re.ASCII)
    if match is None:
        raise ValueError(f"{text!r} is no duration such as 90s, 30m, 24h or 7d")
    return int(match[1]) * _UNITS[match[2]]


def _seconds_of_text(value: object) -> object:
    return seconds(value) if isinstance(value, str) else value


Duration = Annotated[int, BeforeValidator(_seconds_of_text)]
"""Seconds, written as a duration."""
