"""Serves the API until the process is told to stop."""

import logging
import signal
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from threading import Event

import uvicorn

from services.authority.administration import Administration
from services.authority.app import create_app
from services.authority.authority import Authority
from services.authority.credits import Bookkeeper
from services.authority.membership import Membership
from services.authority.throttle import Throttle
from services.authority.tls import ensure_tls
from services.common.errors import CalyxError
from services.common.logs import discreet
from services.common.network_watch import end_when_left_behind

logger = logging.getLogger("authority")

SEED_CHECK_SECONDS = 10.0
BOOKING_SECONDS = 10.0


def serve(authority: Authority) -> None:
    """Make what is missing (keys, the seed's token), then serve until SIGTERM or SIGINT.

    Raises:
        CalyxError: something could not be made, or another process serves from the same folder.
    """
    with authority.state.serving():
        authority.authorities.ensure()
        ensure_tls(authority.state, authority.settings.pool_name)
        administration, path = Administration(authority), authority.settings.seed_token_file
        administration.seed_token(path)
        stopped = Event()
        bookkeeper = Bookkeeper(authority.database, authority.settings.authority_credits_dir)
        for keep in (partial(keep_seed_token, administration, path), partial(keep_ledger, bookkeeper)):
            threading.Thread(target=keep, args=(stopped.wait,), daemon=True).start()
        logging.getLogger("uvicorn.error").addFilter(discreet)
        end_when_left_behind()
        # uvicorn raises the signal again once it has shut down, which is an ordinary end and not a failure.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: sys.exit(0))
        try:
            uvicorn.Server(server_config(authority)).run()
        finally:
            stopped.set()


def keep_seed_token(
    administration: Administration, path: Path, stop_asked_within: Callable[[float], bool]
) -> None:
    """See to it that a seed's sidecar finds a token once no seed node is there, until ``stop_asked_within``,
    which waits, says so.

    A restored authority can remember a seed whose lease is not over yet, and a token can expire unused.
    """
    while not stop_asked_within(SEED_CHECK_SECONDS):
        try:
            administration.seed_token(path)
        except CalyxError as error:
            logger.warning("the seed's token could not be written", extra={"reason": str(error)})


def keep_ledger(bookkeeper: Bookkeeper, stop_asked_within: Callable[[float], bool]) -> None:
    """Book what nodes share until ``stop_asked_within``, which waits, says to stop."""
    while not stop_asked_within(BOOKING_SECONDS):
        try:
            bookkeeper.settle()
        except CalyxError as error:
            logger.warning("what nodes shared is booked later", extra={"reason": str(error)})


def server_config(authority: Authority) -> uvicorn.Config:
    """Return how uvicorn serves the authority."""
    membership = Membership(authority.settings, authority.database, authority.authorities, Throttle())
    return uvicorn.Config(
        create_app(membership),
        host="0.0.0.0",  # noqa: S104 - other machines enrol here; compose says which ports they reach
        port=authority.settings.authority_listen_port,
        ssl_certfile=authority.state.tls,
        log_config=None,
        access_log=False,
        server_header=False,
        # Else whoever is taken for a proxy could choose the address that wrong secrets are counted under.
        proxy_headers=False,
        limit_concurrency=512,
        # Idle connections count too, and each node would keep one until its next heartbeat.
        headers=[("Connection", "close")],
        timeout_graceful_shutdown=3,
    )
