"""Start the bootstrap peer: ``python -m services.bootstrap [heartbeat file]``."""

import sys
from pathlib import Path

from services.bootstrap.app import main

if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
