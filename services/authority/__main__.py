"""``python -m services.authority``: serve, or carry out one command of the pool's owner."""

import logging
import os
import sys

from services.authority.command_line import run
from services.common.errors import CalyxError
from services.common.logs import configure
from services.common.settings import AuthoritySettings, LoggingSettings


def main(arguments: list[str]) -> int:
    """Return the exit code: 0, or 1 with one line on what is wrong."""
    # Keys and databases are for this user alone, whatever file makes them.
    os.umask(0o077)
    try:
        configure(LoggingSettings.load())
        settings = AuthoritySettings.load()
        if not arguments:
            logging.getLogger("authority").info("starting", extra=settings.describe())
        run(arguments, settings)
    except CalyxError as error:
        sys.stderr.write(f"authority: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
