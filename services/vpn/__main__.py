"""Start the sidecar: ``python -m services.vpn``."""

import sys

from services.vpn.app import main

if __name__ == "__main__":
    sys.exit(main())
