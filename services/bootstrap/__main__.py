"""Start the bootstrap peer: ``python -m services.bootstrap``."""

import sys

from services.bootstrap.app import main

if __name__ == "__main__":
    sys.exit(main())
