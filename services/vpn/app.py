"""Assembles the sidecar and runs it until it is told to stop."""

import logging
import signal
import sys
from pathlib import Path

from services.common import logs
from services.common.errors import CalyxError
from services.common.heartbeat import DEFAULT_PATH, Heartbeat
from services.common.settings import LoggingSettings, VpnSettings
from services.vpn.direct import DirectTunnel
from services.vpn.supervisor import supervise
from services.vpn.tunnel import Tunnel

logger = logging.getLogger(__name__)

STOP_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT})


def tunnel_for(settings: VpnSettings) -> Tunnel:
    """Return the way to the other nodes that the settings choose."""
    match settings.vpn_mode:
        case "direct":
            return DirectTunnel()


def stop_asked_within(seconds: float) -> bool:
    """Sleep, but not past a signal of ``STOP_SIGNALS``; return whether one came."""
    return signal.sigtimedwait(STOP_SIGNALS, seconds) is not None


def main(heartbeat: Path = DEFAULT_PATH) -> int:
    """Keep the node's network until SIGTERM or SIGINT; return the exit code."""
    # Blocked and waited for, never handled: a handler would run in the middle of a line of the log.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        logs.configure(LoggingSettings.load())
        settings = VpnSettings.load()
    except CalyxError as error:
        sys.stderr.write(f"vpn: {error}\n")
        return 1
    logger.info("starting", extra=settings.describe())
    supervise(tunnel_for(settings), Heartbeat(heartbeat), stop_asked_within)
    logger.info("stopped")
    return 0
