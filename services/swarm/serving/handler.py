"""Receives requests from the network as Petals does, and says which adapters there are to who asks for another."""

from typing import Any

from petals.server import handler

from services.swarm.family.adapted import unknown_adapter


class TransformerConnectionHandler(handler.TransformerConnectionHandler):
    """Petals' handler; its name is part of the protocol, so ours has the same."""

    def _get_active_adapter(self, metadata: dict[str, Any]) -> str:
        """Return the adapter that a request names, or the empty name.

        Raises:
            InvalidInput: this server does not have it; the message goes back to who sent the request.
        """
        adapter = metadata.get("active_adapter") or ""
        if adapter and adapter not in self.adapters:
            raise unknown_adapter(adapter, self.adapters)
        return str(adapter)
