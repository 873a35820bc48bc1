"""What servers say of themselves when asked by ``rpc_info``; each is asked once."""

import asyncio
from dataclasses import dataclass
from typing import Any

from hivemind import MSGPackSerializer
from hivemind.p2p import P2P, PeerID
from hivemind.proto import runtime_pb2
from petals.server.handler import TransformerConnectionHandler

from services.swarm.bundles import SESSIONS_AT

START_FROM_POSITION = "start_from_position"
"""In a step's metadata, where it starts; in ``rpc_info``, that the server understands it."""


@dataclass(frozen=True)
class ServerTerms:
    """How one server wants to be talked to.

    Attributes:
        compression: of the hidden states on the wire, by hivemind's number.
        goes_back: whether a session may start a step from an earlier position.
        sessions_at: the handler that sessions are opened at, so that they can step together; None for any.
    """

    compression: int
    goes_back: bool
    sessions_at: str | None = None


class Capabilities:
    """Asks servers, and remembers their answers until they fail.

    Args:
        p2p: this process's way to its libp2p daemon.
        timeout: seconds until a server must have answered.
    """

    def __init__(self, p2p: P2P, timeout: float) -> None:
        self._p2p, self._timeout = p2p, timeout
        self._known: dict[PeerID, ServerTerms] = {}

    async def of(self, peer: PeerID, block_uid: str) -> ServerTerms:
        """Return a server's terms.

        Args:
            peer: the server.
            block_uid: name of one of its blocks.

        Raises:
            Exception: it does not answer.
        """
        if peer not in self._known:
            stub = TransformerConnectionHandler.get_stub(self._p2p, peer)
            async with asyncio.timeout(self._timeout):
                answer = await stub.rpc_info(runtime_pb2.ExpertUID(uid=block_uid))
            self._known[peer] = _terms(MSGPackSerializer.loads(answer.serialized_info))
        return self._known[peer]

    def forget(self, peer: PeerID) -> None:
        """Ask again next time: the server may have been replaced by another version."""
        self._known.pop(peer, None)


def _terms(info: dict[str, Any]) -> ServerTerms:
    inputs, _ = info["inference_schema"]
    handler = info.get(SESSIONS_AT)
    return ServerTerms(
        compression=inputs[0].compression,
        goes_back=bool(info.get(START_FROM_POSITION)),
        sessions_at=handler if isinstance(handler, str) else None,
    )
