"""What the pool's owner asks for, by the command line in the authority's container: no network leads here."""

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from services.authority.authority import Authority
from services.authority.credits import sums
from services.authority.errors import UnknownEntry
from services.authority.pool_view import with_port
from services.authority.store import Store
from services.authority.tls import ensure_tls, pin_of
from services.authority.tokens import Role, Token, matches, new_token
from services.common.errors import InvalidInput, InvalidSetting, Refused
from services.common.files import replace_file
from services.common.token import JoinToken

SEED_TOKEN_SECONDS = 24 * 3600
# The seed's own sidecar shares its network with the authority, where the public address may lead nowhere. It runs
# as another user of the same group, so the group may read its token.
_LOOPBACK = "127.0.0.1"


class Administration:
    """The owner's side of the pool.

    Args:
        authority: the pool's.
        clock: seconds since the epoch, the same that nodes are served by.
    """

    def __init__(self, authority: Authority, clock: Callable[[], float] = time.time) -> None:
        self._authority = authority
        self._settings = authority.settings
        self._database = authority.database
        self._clock = clock

    def create_token(self, role: Role, ttl: int, uses: int) -> dict[str, Any]:
        """Make a token; the answer holds the only copy of its text.

        Raises:
            InvalidSetting: nobody said where other machines reach the authority.
            InvalidInput: the lifetime or the number of uses is out of bounds.
        """
        host = self._settings.public_address
        if host is None:
            raise InvalidSetting(
                "creating a token: it must name an address that other machines reach this one at",
                "set CALYX_PUBLIC_ADDRESS",
            )
        address = with_port(host, self._settings.authority_port)
        with self._database.write() as store:
            token, text = self._new_token(store, role, ttl, uses, address)
        return {"token": text, "id": token.id, "expires_at": token.expires_at}

    def tokens(self) -> list[dict[str, Any]]:
        """Return every token that was made, the newest first, without anything secret."""
        with self._database.read() as store:
            return [self._token_document(token) for token in store.tokens()]

    def revoke_token(self, token_id: str) -> None:
        """Make a token worthless; nodes that enrolled with it stay.

        Raises:
            UnknownEntry: there is none with this id.
        """
        with self._database.write() as store:
            if store.token(token_id) is None:
                raise UnknownEntry(f"revoking a token: there is none with the id {token_id}")
            store.revoke_token(token_id, self._now())
            store.add_event(self._now(), "token revoked", token_id)

    def check_token(self, text: str) -> dict[str, Any]:
        """Return what a token is good for.

        Raises:
            InvalidInput: it is none, or one of another authority.
            Refused: it is good for nothing any more; the message says why.
        """
        given = JoinToken.parse(text)
        if given.pin != self._pin():
            raise InvalidInput("checking a token: it is for another authority", f"its pool is {given.pool}")
        with self._database.read() as store:
            token = store.token(given.id)
        if token is None or not matches(given.secret, token.secret_hash):
            raise Refused("checking a token: this authority made no such token")
        token.check(self._now())
        return self._token_document(token)

    def nodes(self) -> list[dict[str, Any]]:
        """Return every node that enrolled, in that order, with what it is now."""
        now = self._now()
        found = []
        with self._database.read() as store:
            for node in store.nodes():
                certificate = store.newest_certificate(node.id)
                document = asdict(node)
                for hidden in ("credential_hash", "public_key", "activity", "held_address"):
                    del document[hidden]
                document["state"] = node.presence(now)
                document["certificate_expires_at"] = certificate.not_after if certificate else None
                found.append(document)
        return found

    def credits(self) -> list[dict[str, Any]]:
        """Return what each node shared in all its time, those that shared most first."""
        with self._database.read() as store:
            return [one.model_dump() for one in sums(store)]

    def revoke_node(self, name: str, reason: str) -> str:
        """Take a node out against its will, by its id or its name; return its id.

        Its address stays taken until its lease is over, when every other node knows of the revocation.

        Raises:
            UnknownEntry: there is none of that name in the pool.
        """
        now = self._now()
        with self._database.write() as store:
            node = store.node(name) or store.node_named(name)
            if node is None or node.left_at is not None:
                raise UnknownEntry(f"revoking a node: none in the pool has the name or the id {name}")
            if node.revoked_at is None:
                store.revoke_certificates(node.id, now)
                store.change_node(node.id, revoked_at=now, reason=reason)
                store.add_event(now, "revoked", f"{node.name} ({node.id}): {reason}")
            return node.id

    def rotate_ca(self) -> dict[str, Any]:
        """Make a new certificate authority for the mesh.

        The answer says when it begins to sign, and when nobody trusts an older one any more.
        """
        self._authority.authorities.rotate()
        *older, new = self._authority.authorities.generations()
        with self._database.write() as store:
            store.add_event(self._now(), "certificate authority made", new.certificate.fingerprint)
        return {
            "fingerprint": new.certificate.fingerprint,
            "expires_at": new.certificate.not_after,
            "signs_from": max(new.signs_from, new.certificate.not_before),
            "older_trusted_until": max((one.trusted_until for one in older), default=None),
        }

    def seed_token(self, path: Path) -> None:
        """Write a token for the seed node's own sidecar, good for one enrolment.

        Nothing is written while a seed node is there, or where a good token lies already. A new one makes those
        before it worthless.

        Raises:
            Broken: the file cannot be written.
        """
        if self._has_seed() or self._is_usable(path):
            return
        address = with_port(_LOOPBACK, self._settings.authority_listen_port)
        with self._database.write() as store:
            store.revoke_unused_tokens("seed", self._now())
            _, text = self._new_token(store, "seed", SEED_TOKEN_SECONDS, 1, address)
            # Before the transaction ends: a file that cannot be written leaves no token behind.
            replace_file(path, text, mode=0o640)

    def _has_seed(self) -> bool:
        now = self._now()
        with self._database.read() as store:
            return any(seed.presence(now) != "gone" for seed in store.seeds())

    def _is_usable(self, path: Path) -> bool:
        # A sidecar may be reading it this moment, so a good one is left alone.
        try:
            self.check_token(path.read_text())
        except (OSError, ValueError, InvalidInput, Refused):
            return False
        return True

    def _new_token(self, store: Store, role: Role, ttl: int, uses: int, address: str) -> tuple[Token, str]:
        now = self._now()
        token, secret = new_token(role, ttl, uses, now)
        store.add_token(token)
        store.add_event(now, "token created", f"{token.id} ({token.role}, uses: {token.uses})")
        return token, JoinToken(self._settings.pool_name, address, self._pin(), token.id, secret).text()

    def _token_document(self, token: Token) -> dict[str, Any]:
        document = asdict(token)
        del document["secret_hash"]
        return {**document, "state": token.state(self._now())}

    def _pin(self) -> str:
        return pin_of(ensure_tls(self._authority.state, self._settings.pool_name))

    def _now(self) -> int:
        return int(self._clock())
