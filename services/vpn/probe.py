"""Health check of the sidecar's container: ``python -m services.vpn.probe``."""

import sys

from services.common.heartbeat import run_probe

if __name__ == "__main__":
    sys.exit(run_probe())
