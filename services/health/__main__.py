"""``python -m services.health``: read the settings, then watch and serve until stopped."""

import gc
import logging
import signal
import sys
from functools import partial

import uvicorn

from services.common.errors import CalyxError, InvalidSetting
from services.common.logs import configure
from services.common.network_watch import end_when_left_behind
from services.common.settings import HealthSettings, LoggingSettings, SwarmSettings
from services.health.app import create_app
from services.health.collector import Collector, SwarmDirectory
from services.health.credits.creditor import Creditor
from services.health.credits.meter import read_meter
from services.health.history import History
from services.swarm.directory import Directory

_TURN_SECONDS = 0.0005
"""How long a thread computes while another one wants to: an answer changes hands often, and waited for each look."""


def connect() -> SwarmDirectory:
    """Open the directory at the peers that are configured now.

    They are read at each connection, because the bootstrap peer writes them to a file when it starts.
    """
    peers = SwarmSettings.load().initial_peers
    if not peers:
        raise InvalidSetting(
            "no peer to enter the swarm through", "set CALYX_INITIAL_PEERS or CALYX_INITIAL_PEERS_FILE"
        )
    return Directory(peers)


def _creditor(settings: HealthSettings, collector: Collector) -> Creditor | None:
    folder = settings.health_credits_dir
    if folder is None:
        return None
    read = partial(read_meter, settings.health_endpoint_metrics)
    return Creditor(collector, folder, settings.health_credits_period, read)


def main() -> int:
    """Serve until SIGTERM or SIGINT; return the exit code."""
    try:
        logs = LoggingSettings.load()
        settings = HealthSettings.load()
    except CalyxError as error:
        sys.stderr.write(f"health: {error}\n")
        return 1
    # Else looking for garbage would copy what the DHT's process, which is forked, shares with this one
    gc.freeze()
    sys.setswitchinterval(_TURN_SECONDS)
    configure(logs)
    logging.getLogger("health").info("starting", extra=settings.describe())
    end_when_left_behind()
    collector = Collector(connect, settings.health_update_period, History(settings.health_history_file))
    creditor = _creditor(settings, collector)
    # uvicorn raises the signal again once it has shut down, which is an ordinary end and not a failure.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    uvicorn.run(
        create_app(
            collector, settings.health_certificates_file, settings.health_history_file.parent, creditor
        ),
        host=settings.health_host,
        port=settings.health_listen_port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=2,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
