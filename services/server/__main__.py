"""Start the server: ``python -m services.server [heartbeat file]``."""

import logging
import os
import sys
from pathlib import Path

from services.server.app import main

if __name__ == "__main__":
    code = main(*map(Path, sys.argv[1:]))
    logging.shutdown()
    # Destructors of torch's shared memory abort a process whose helper processes have ended
    os._exit(code)
