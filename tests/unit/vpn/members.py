"""Memberships that tests begin with."""

from typing import Any

from services.vpn.membership import Membership

PLACE: dict[str, Any] = {
    "pool": "home",
    "authority": "203.0.113.7:7443",
    "pin": "ab" * 32,
    "node_id": "n-5",
    "name": "attic",
    "address": "10.77.0.5/16",
    "certificate": "-----BEGIN NEBULA CERTIFICATE-----\nnode\n",
    "credential": "a credential",
    "ca": "-----BEGIN NEBULA CERTIFICATE-----\nca\n",
    "blocklist": [],
    "lighthouses": [{"address": "10.77.0.1", "endpoints": ["203.0.113.7:4242"]}],
    "initial_peers": ["/ip4/10.77.0.1/tcp/31330/p2p/QmSeed"],
    "expires_at": 2_000_000_000.0,
    "ca_expires_at": 2_300_000_000.0,
    "lease_seconds": 60.0,
}


def member(**changes: Any) -> Membership:
    return Membership.model_validate(PLACE | changes)
