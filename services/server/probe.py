"""Health check of the server's container: ``python -m services.server.probe``."""

import sys

from services.common.heartbeat import run_probe

if __name__ == "__main__":
    sys.exit(run_probe())
