"""What nodes are told of the pool: whom to trust, whom not, and where to begin."""

from pathlib import Path

from services.authority.answers import Lighthouse, View
from services.authority.certificate_authorities import Authorities
from services.authority.store import Store
from services.common.settings import AuthoritySettings

MOST_ENDPOINTS = 8
"""Members whose endpoints are told to others: each of these asks all of them every few seconds if they are ready."""


def look(settings: AuthoritySettings, store: Store, authorities: Authorities, now: int) -> View:
    """Return the pool as it is now."""
    host = settings.public_address
    endpoints = [with_port(host, settings.nebula_port)] if host else []
    members = store.endpoint_addresses(now, MOST_ENDPOINTS) if settings.member_endpoints else []
    return View(
        ca=authorities.bundle(now),
        ca_expires_at=authorities.expires_at(),
        lighthouses=[Lighthouse(seed.address, endpoints) for seed in store.seeds() if seed.address],
        initial_peers=_words(settings.authority_peers_file),
        endpoint_nodes=members,
        blocklist=store.blocklist(now),
        lease_seconds=settings.lease_seconds,
        server_time=now,
    )


def with_port(host: str, port: int) -> str:
    """Return ``host:port``, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:  # the bootstrap peer has not written it yet; nodes learn of it with a heartbeat
        return []
