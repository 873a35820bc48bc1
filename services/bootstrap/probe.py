"""Health check of the bootstrap peer's container: ``python -m services.bootstrap.probe``."""

import sys

from services.common.heartbeat import run_probe

if __name__ == "__main__":
    sys.exit(run_probe())
