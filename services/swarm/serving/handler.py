"""Receives requests from the network as Petals does, and more: see ``services.swarm.bundles``."""

from functools import partial
from typing import Any
from uuid import uuid4

from hivemind import MSGPackSerializer
from hivemind.p2p import P2P, P2PContext, PeerID
from hivemind.proto import runtime_pb2
from petals.server import handler

from services.swarm.bundles import SESSIONS_AT, Onward, bundles_at, inference_at, passed_on_at
from services.swarm.family.adapted import unknown_adapter
from services.swarm.serving.bundled import BundledSteps
from services.swarm.serving.channels import Channels
from services.swarm.serving.passing_on import PassingOn
from services.swarm.ways import Way, WayToHandler


class TransformerConnectionHandler(handler.TransformerConnectionHandler):
    """Petals' handler; its name is part of the protocol, so ours has the same."""

    def __init__(self, *args: Any, channels: Channels, **named: Any) -> None:
        super().__init__(*args, **named)
        self._channels = channels
        self._own_name = f"calyx.{uuid4().hex}"
        self._bundles = BundledSteps.are_taken_by(self.module_backends)
        self._passing_on: PassingOn | None = None

    async def add_p2p_handlers(self, p2p: P2P, *args: Any, **named: Any) -> None:
        """Connect to the runtime, and let other peers call this handler, or any handler of the server."""
        await self._channels.connect(self._handler_index)
        await super().add_p2p_handlers(p2p, *args, **named)
        if self._bundles:
            self._passing_on = PassingOn(partial(self._way_to, p2p))
            bundled = BundledSteps(self.module_backends, self._passing_on)
            await p2p.add_protobuf_handler(
                inference_at(self._own_name),
                self.rpc_inference,
                runtime_pb2.ExpertRequest,
                stream_input=True,
                stream_output=True,
            )
            await p2p.add_binary_stream_handler(bundles_at(self._own_name), bundled.serve)
            await p2p.add_binary_stream_handler(passed_on_at(self._own_name), bundled.serve_passed_on)

    async def remove_p2p_handlers(self, *args: Any, **named: Any) -> None:
        """Let nobody call this handler any more, and call no other one."""
        if self._passing_on is not None:
            self._passing_on.close()
        await super().remove_p2p_handlers(*args, **named)

    def _way_to(self, p2p: P2P, onward: Onward) -> Way:
        peer = PeerID.from_base58(onward.peer)
        return WayToHandler(p2p, peer, passed_on_at(onward.handler), self.request_timeout)

    async def rpc_info(self, request: runtime_pb2.ExpertUID, context: P2PContext) -> runtime_pb2.ExpertInfo:
        """Say what Petals says, and how to call this handler; stock clients look at what they know."""
        answer = await super().rpc_info(request, context)
        if not self._bundles:
            return answer
        known = MSGPackSerializer.loads(answer.serialized_info)
        return runtime_pb2.ExpertInfo(
            serialized_info=MSGPackSerializer.dumps({**known, SESSIONS_AT: self._own_name})
        )

    def _get_active_adapter(self, metadata: dict[str, Any]) -> str:
        """Return the adapter that a request names, or the empty name.

        Raises:
            InvalidInput: this server does not have it; the message goes back to who sent the request.
        """
        adapter = metadata.get("active_adapter") or ""
        if adapter and adapter not in self.adapters:
            raise unknown_adapter(adapter, self.adapters)
        return str(adapter)
