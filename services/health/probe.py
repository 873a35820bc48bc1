"""``python -m services.health.probe``: healthy when the exporter has seen the swarm a short while ago."""

import sys

from services.common.http_probe import run_probe
from services.common.settings import HealthSettings

if __name__ == "__main__":
    sys.exit(run_probe(HealthSettings.load().health_listen_port, "/healthz"))
