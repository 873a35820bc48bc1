"""Start the server: ``python -m services.server``."""

import logging
import os

from services.server.app import main

if __name__ == "__main__":
    code = main()
    logging.shutdown()
    # Destructors of torch's shared memory abort a process whose helper processes have ended
    os._exit(code)
