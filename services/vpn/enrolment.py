"""Takes this node's place in a pool: a key pair of its own, a token, and the authority's word.

``python -m services.vpn.enrolment`` does only that, so that whoever joins learns what is wrong before anything else
is started.
"""

import json
import sys

from services.common.errors import CalyxError, Unavailable
from services.common.settings import VpnSettings
from services.common.token import JoinToken
from services.vpn.authority_client import AuthorityClient
from services.vpn.keys import make_key_pair
from services.vpn.membership import Membership, StateFolder


def enrol(folder: StateFolder, settings: VpnSettings) -> Membership:
    """Take a place in the pool that the token names; nothing is kept in the folder's record if that fails.

    Raises:
        Unavailable: there is no token.
        InvalidInput: it is none of Calyx's tokens, or not whole.
        CalyxError: see :meth:`services.vpn.authority_client.AuthorityClient.enrol`.
    """
    try:
        token = JoinToken.parse(settings.vpn_token_file.read_text())
    except OSError as error:
        raise Unavailable(
            f"this node is in no pool, and there is no token in {settings.vpn_token_file}: {error.strerror}",
            "join with a token",
        ) from error
    public_key = make_key_pair(folder)
    member = AuthorityClient(token.authority, token.pin).enrol(token, settings.node_name, public_key)
    folder.save(member)
    return member


def main() -> int:
    """Enrol, print the node's place as JSON, and return the exit code."""
    try:
        settings = VpnSettings.load()
        folder = StateFolder(settings.vpn_dir)
        member = folder.load() or enrol(folder, settings)
    except CalyxError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    shown = {"pool": member.pool, "node": member.name, "role": member.role, "address": str(member.address.ip)}
    print(json.dumps(shown | {"authority": member.authority}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
