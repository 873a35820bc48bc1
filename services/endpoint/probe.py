"""The container's health check: healthy means that a model answers, not that a process runs."""

import sys

from services.common.http_probe import run_probe
from services.common.settings.endpoint import EndpointSettings

if __name__ == "__main__":
    sys.exit(run_probe(EndpointSettings.load().endpoint_listen_port, "/readyz"))
