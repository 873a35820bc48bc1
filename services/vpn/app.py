"""Assembles the sidecar and runs it until it is told to stop."""

import logging
import signal
import socket
import sys
from pathlib import Path

from services.common import logs
from services.common.errors import CalyxError
from services.common.heartbeat import DEFAULT_PATH, Heartbeat
from services.common.settings import LoggingSettings, VpnSettings
from services.vpn import firewall
from services.vpn.direct import DirectTunnel
from services.vpn.enrolment import enrol
from services.vpn.membership import StateFolder
from services.vpn.mesh import MeshTunnel, PoolFiles
from services.vpn.nebula_config import SERVER_PORT
from services.vpn.routes import read_gateway
from services.vpn.supervisor import supervise
from services.vpn.tunnel import Tunnel

logger = logging.getLogger(__name__)

STOP_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT})


def tunnel_for(settings: VpnSettings) -> Tunnel:
    """Return the way to the other nodes that the settings choose.

    Raises:
        Broken: the network cannot be closed against everything outside the tunnel.
    """
    if settings.vpn_mode == "direct":
        return DirectTunnel()
    folder = StateFolder(settings.vpn_dir)
    rules = firewall.ruleset(settings.vpn_mode, read_gateway(), settings.open_ports)
    firewall.apply(rules)
    return MeshTunnel(
        settings.vpn_mode,
        folder,
        PoolFiles(
            announce_host=settings.vpn_announce_file,
            initial_peers=settings.vpn_peers_file if settings.vpn_mode == "member" else None,
            certificates=settings.vpn_certificates_file,
        ),
        enrol=lambda: enrol(folder, VpnSettings.load()),
        state=lambda: "running" if serves_blocks() else "paused",
        own_endpoint=settings.own_endpoint,
    )


def serves_blocks() -> bool:
    """Return whether this node's server listens."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", SERVER_PORT)) == 0


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
        logger.info("starting", extra=settings.describe())
        tunnel = tunnel_for(settings)
    except CalyxError as error:
        sys.stderr.write(f"vpn: {error}\n")
        return 1
    supervise(tunnel, Heartbeat(heartbeat), stop_asked_within)
    logger.info("stopped")
    return 0
