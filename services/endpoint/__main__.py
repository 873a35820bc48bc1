"""``python -m services.endpoint``: read the settings, then load the models and serve until stopped."""

import logging
import os
import signal
import sys
from typing import NoReturn

import uvicorn

from services.common.errors import CalyxError
from services.common.logs import configure, discreet
from services.common.network_watch import end_when_left_behind
from services.common.settings import EndpointSettings, LoggingSettings
from services.endpoint.app import create_app
from services.endpoint.connections import connection_classes
from services.endpoint.models import Models
from services.endpoint.swarm_models import swarm_models

_MAX_HEAD_BYTES = 16 * 1024
"""The largest head of a request: its address and headers."""


def server_config(settings: EndpointSettings, models: Models) -> uvicorn.Config:
    """Return how uvicorn serves the endpoint; gRPC is served beside it."""
    http, websocket = connection_classes(settings.client_timeout)
    return uvicorn.Config(
        create_app(settings, models, f"{settings.endpoint_host}:{settings.grpc_listen_port}"),
        host=settings.endpoint_host,
        port=settings.endpoint_listen_port,
        log_config=None,
        # At DEBUG the WebSocket library writes every frame, and with it every prompt, to this log.
        log_level=logging.INFO,
        access_log=False,
        server_header=False,
        http=http,
        h11_max_incomplete_event_size=_MAX_HEAD_BYTES,
        ws=websocket,
        # The application answers a message over its limit; far over it the connection just ends.
        ws_max_size=4 * settings.max_message_bytes,
        ws_ping_interval=20,
        ws_ping_timeout=20,
        # Messages are a token long: compressing them costs more than it saves.
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=3,
    )


def main() -> int:
    """Serve until SIGTERM or SIGINT; return the exit code."""
    try:
        configure(LoggingSettings.load())
        settings = EndpointSettings.load()
        models = swarm_models(settings)
    except CalyxError as error:
        sys.stderr.write(f"endpoint: {error}\n")
        return 1
    logging.getLogger("uvicorn.error").addFilter(discreet)
    logging.getLogger("endpoint").info(
        "starting", extra={**settings.describe(), "models": " ".join(models.hub_names)}
    )
    end_when_left_behind()
    # The swarm's client forks helper processes, which must not inherit the server's way to end.
    os.register_at_fork(after_in_child=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL))
    # uvicorn raises the signal again once it has shut down.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: leave())
    uvicorn.Server(server_config(settings, models)).run()
    return 0


def leave() -> NoReturn:
    """End the process at once: Python would wait for the helper processes of the swarm's client."""
    logging.shutdown()
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
