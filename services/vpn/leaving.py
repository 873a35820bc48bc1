"""Gives this node's place in its pool back: ``python -m services.vpn.leaving``, run by whoever removes the node."""

import sys

from services.common.errors import CalyxError
from services.common.settings import VpnSettings
from services.vpn.authority_client import AuthorityClient
from services.vpn.membership import StateFolder


def main() -> int:
    """Leave, if there is a place to leave, and return the exit code."""
    try:
        member = StateFolder(VpnSettings.load().vpn_dir).load()
        if member is not None:
            AuthorityClient.of(member).leave(member)
    except CalyxError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
