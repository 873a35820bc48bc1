"""Runs the bootstrap peer until it is told to stop."""

import logging
import signal
import threading
from pathlib import Path

from services.common import logs
from services.common.errors import CalyxError
from services.common.files import replace_file
from services.common.heartbeat import DEFAULT_PATH, Heartbeat
from services.common.network_watch import end_when_left_behind
from services.common.settings import BootstrapSettings, LoggingSettings, SwarmSettings
from services.swarm import dht
from services.swarm.processes import end_children

logger = logging.getLogger(__name__)

CHECK_PERIOD = 10.0


def publish(addresses: list[str], path: Path) -> None:
    """Write one multiaddr a line; readers see the old file or the new one, never half of it.

    Raises:
        Broken: the file cannot be written.
    """
    text = "\n".join(addresses) + "\n"
    replace_file(path, text, mode=0o644, remedy="set CALYX_BOOTSTRAP_ADDRESSES to a writable place")


def main(heartbeat: Path = DEFAULT_PATH) -> int:
    """Run until SIGTERM or SIGINT; return the exit code."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        logs.configure(LoggingSettings.load())
        settings = BootstrapSettings.load()
        end_when_left_behind()
        _run(settings, SwarmSettings.load(), Heartbeat(heartbeat), stop)
    except CalyxError as error:
        logger.error("%s", error)
        return 1
    finally:
        end_children()
    return 0


def _run(
    settings: BootstrapSettings, swarm: SwarmSettings, heartbeat: Heartbeat, stop: threading.Event
) -> None:
    peer = dht.start_peer(
        swarm.initial_peers,
        port=settings.bootstrap_port,
        identity=settings.bootstrap_identity,
        announce_host=swarm.announce_host,
    )
    try:
        publish(dht.addresses(peer), settings.bootstrap_addresses)
        logger.info("bootstrap peer is up", extra={"peer": peer.peer_id, "port": settings.bootstrap_port})
        while True:
            try:
                dht.check(peer)
                heartbeat.beat(True, f"peer {peer.peer_id} answers")
            except CalyxError as error:
                logger.warning("%s", error)
                heartbeat.beat(False, str(error))
            if stop.wait(CHECK_PERIOD):
                return
    finally:
        peer.shutdown()
