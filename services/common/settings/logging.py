"""How every room writes its log."""

from typing import Literal

from services.common.settings.base import Section


class LoggingSettings(Section):
    """Read by each room before anything else."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """The least severe event that is written: DEBUG, INFO, WARNING or ERROR."""

    log_format: Literal["text", "json"] = "text"
    """``text`` for people (key=value), ``json`` for log collectors."""
