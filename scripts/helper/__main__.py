"""``python -m scripts.helper``: what ``scripts/calyx`` runs."""

import sys

from scripts.helper.cli import main

if __name__ == "__main__":
    sys.exit(main())
