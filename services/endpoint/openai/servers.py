"""Which servers answered: ``calyx``, a field of ours beside OpenAI's, which their clients keep as an extra one."""

from collections.abc import Sequence
from typing import Any

from services.endpoint.engine import Server


def extension(servers: Sequence[Server]) -> dict[str, Any]:
    """Return the field for a response or a chunk; nothing where nobody is named."""
    if not servers:
        return {}
    return {
        "calyx": {
            "servers": [
                {
                    "peer_id": server.peer_id,
                    "public_name": server.public_name,
                    "start_block": server.start_block,
                    "end_block": server.end_block,
                }
                for server in servers
            ]
        }
    }
