"""How this node's containers reach the other nodes of the pool."""

from typing import Literal

from services.common.settings.base import Section


class VpnSettings(Section):
    """Read by the sidecar whose network namespace the other containers of the node share."""

    vpn_mode: Literal["direct"] = "direct"
    """``direct``: no tunnel, for a pool on one machine or on a network that is private already."""
