"""The sidecar's loop: look at the tunnel again and again, and tell the health check what was seen.

Nothing but a signal ends it. The other containers live in this container's network namespace and lose it
when this process ends (https://github.com/docker/compose/issues/6626), so a tunnel that fails is reported and
not fatal.
"""

import logging
from collections.abc import Callable

from services.common.errors import CalyxError
from services.common.heartbeat import Heartbeat
from services.vpn.tunnel import Tunnel

logger = logging.getLogger(__name__)

CHECK_PERIOD = 5.0


def supervise(
    tunnel: Tunnel,
    heartbeat: Heartbeat,
    stop_asked_within: Callable[[float], bool],
    period: float = CHECK_PERIOD,
) -> None:
    """Check ``tunnel`` every ``period`` seconds until ``stop_asked_within``, which sleeps, says so; then close it."""
    before: tuple[bool, str] | None = None
    try:
        while True:
            now = _look(tunnel)
            heartbeat.beat(*now)
            if now != before:
                logger.log(logging.INFO if now[0] else logging.WARNING, "%s", now[1])
            before = now
            if stop_asked_within(period):
                return
    finally:
        tunnel.close()


def _look(tunnel: Tunnel) -> tuple[bool, str]:
    try:
        return True, tunnel.check()
    except CalyxError as error:
        return False, str(error)
