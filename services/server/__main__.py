"""Start the server: ``python -m services.server [heartbeat file]``."""

import logging
import os
import sys
import threading
import traceback
from pathlib import Path

from services.server.app import main
from services.swarm.processes import end_children

if __name__ == "__main__":
    code = 1
    try:
        code = main(*map(Path, sys.argv[1:]))
    except Exception:
        traceback.print_exc()
    logging.shutdown()
    # Threads that still serve find out that their handlers are gone, which is no news
    threading.excepthook = lambda _: None
    end_children()
    # Destructors of torch's shared memory abort a process whose helper processes have ended
    os._exit(code)
