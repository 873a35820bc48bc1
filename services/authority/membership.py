"""What nodes ask for: to be let in, to stay, to get the next certificate, to leave. One transaction each."""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from services.authority.answers import Alive, Enrolled, Peer, Peers, Renewed
from services.authority.certificate_authorities import Authorities
from services.authority.certificates import Subject, checked_public_key
from services.authority.making_way import make_way, release
from services.authority.nodes import Activity, Certificate, Node, free_address
from services.authority.pool_view import look
from services.authority.store import Store
from services.authority.store_database import Database
from services.authority.throttle import Throttle
from services.authority.tokens import GROUPS, Token, hash_of, matches, new_secret
from services.common.errors import Refused, Unavailable
from services.common.settings import AuthoritySettings

_JOIN_AGAIN = "join the pool again with a new token"
_ASK_AGAIN = "ask the pool's owner for a new token"


@dataclass(frozen=True)
class Application:
    """What a machine that wants in sends: a token's two parts, its name and its mesh's public key as PEM."""

    token_id: str
    secret: str
    name: str
    public_key: str


class Membership:
    """The pool's members.

    Args:
        settings: the pool's.
        database: where members and tokens are.
        authorities: what signs certificates.
        throttle: what slows down those who guess secrets.
        clock: seconds since the epoch; the only clock that counts for tokens and leases.
    """

    def __init__(
        self,
        settings: AuthoritySettings,
        database: Database,
        authorities: Authorities,
        throttle: Throttle,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._database = database
        self._authorities = authorities
        self._throttle = throttle
        self._clock = clock

    def enrol(self, application: Application, source: str) -> Enrolled:
        """Let a node in; ``source`` is the address that it asks from.

        An answer that got lost on its way can be asked for again: until its first heartbeat, the same node with the
        same key and token gets its place once more, and no use of the token is counted.

        Raises:
            Refused: the secret is wrong, the token is no longer good, the name is taken, no address is free, or
                too many wrong secrets came from ``source``.
            InvalidInput: the public key is none.
        """
        self._throttle.check(source)
        key = checked_public_key(application.public_key)
        now = self._now()
        with self._database.write() as store:
            token = self._known_token(store, application, source)
            known = store.node_named(application.name)
            if known is not None and _is_repeat(known, token, key):
                node = known
            else:
                token.check(now)
                make_way(store, application.name, token, now)
                node = self._new_node(store, token, application.name, key, now)
            credential = new_secret()
            store.change_node(
                node.id, credential_hash=hash_of(credential), lease_until=now + self._settings.lease_seconds
            )
            certificate, pem = self._certify(store, node, now)
            store.add_event(now, "enrolled", f"{node.name} ({node.id}) as {node.role} by token {token.id}")
            return Enrolled(
                node_id=node.id,
                name=node.name,
                role=node.role,
                address=self._with_prefix(node),
                certificate=pem,
                credential=credential,
                expires_at=certificate.not_after,
                renew_at=certificate.renew_at,
                view=look(self._settings, store, self._authorities, now),
            )

    def heartbeat(
        self,
        bearer: str,
        activity: Activity,
        blocks: str | None,
        model: str | None,
        *,
        endpoint: bool = False,
    ) -> Alive:
        """Extend a node's lease, keep what it says of itself, and tell it what is new.

        Raises:
            Refused: it is not a member, or no longer.
        """
        now = self._now()
        with self._database.write() as store:
            node = _member(store, bearer)
            said = {"activity": activity, "blocks": blocks, "model": model, "endpoint": endpoint}
            self._seen(store, node, now, **said)
            certificate = store.newest_certificate(node.id)
            return Alive(
                renew=certificate is None or self._is_due(certificate, now),
                expires_at=certificate.not_after if certificate else now,
                view=look(self._settings, store, self._authorities, now),
            )

    def renew(self, bearer: str, public_key: str) -> Renewed:
        """Sign the next certificate; the last one stays good to its end, for connections that use it.

        Raises:
            Refused: the node is not a member, or no longer.
            InvalidInput: ``public_key`` is none.
        """
        key = checked_public_key(public_key)
        now = self._now()
        with self._database.write() as store:
            node = replace(_member(store, bearer), public_key=key)
            self._seen(store, node, now, public_key=key)
            certificate, pem = self._certify(store, node, now)
            store.add_event(now, "renewed", f"{node.name} ({node.id})")
            return Renewed(
                certificate=pem,
                ca=self._authorities.bundle(now),
                expires_at=certificate.not_after,
                renew_at=certificate.renew_at,
            )

    def leave(self, bearer: str) -> None:
        """Take a node out of the pool, at its own wish.

        Raises:
            Refused: it is not a member, or no longer.
        """
        now = self._now()
        with self._database.write() as store:
            release(store, _member(store, bearer), now, "left")

    def peers(self, bearer: str) -> Peers:
        """Return who is in the pool; it does not count as a sign of life.

        Raises:
            Refused: the node that asks is not a member, or no longer.
        """
        now = self._now()
        with self._database.read() as store:
            _member(store, bearer)
            return Peers(
                [
                    Peer(one.name, one.address, one.role, one.presence(now))
                    for one in store.members()
                    if one.address
                ]
            )

    def check(self) -> None:
        """Raise unless the authority can work: the database answers and a certificate authority is valid."""
        with self._database.read() as store:
            store.check()
        if not self._authorities.bundle(self._now()):
            raise Unavailable(
                "the mesh's certificate authority has expired", "run: python3 -m services.authority rotate-ca"
            )

    def _now(self) -> int:
        return int(self._clock())

    def _known_token(self, store: Store, application: Application, source: str) -> Token:
        token = store.token(application.token_id)
        # Compared in any case: the time of the answer must not say which ids exist.
        if not matches(application.secret, token.secret_hash if token else None) or token is None:
            self._throttle.failed(source)
            raise Refused("enrolling: no such token, or its secret is wrong", "copy the whole token again")
        return token

    def _new_node(self, store: Store, token: Token, name: str, key: str, now: int) -> Node:
        if not store.spend_token(token.id, now):
            raise Refused("enrolling: this token is used up", _ASK_AGAIN)
        address = self._take_address(store, now)
        node = Node(
            id=secrets.token_hex(8),
            name=name,
            role=token.role,
            token_id=token.id,
            public_key=key,
            credential_hash="",  # matches no secret
            address=address,
            held_address=address,
            activity="running",
            joined_at=now,
            lease_until=now,
        )
        store.add_node(node)
        return node

    def _take_address(self, store: Store, now: int) -> str:
        address = free_address(self._settings.mesh_network, store.held_addresses())
        if address is not None:
            return address
        # Nodes that may come back keep theirs as long as there is another.
        gone = store.reclaimable_node(now)
        if gone is None or gone.address is None:
            raise Refused(
                f"enrolling: every address of {self._settings.mesh_network} is taken",
                "let nodes leave the pool, or give it a larger CALYX_MESH_NETWORK",
            )
        release(store, gone, now, "displaced")
        return gone.address

    def _certify(self, store: Store, node: Node, now: int) -> tuple[Certificate, str]:
        signed = self._authorities.issue(
            Subject(node.public_key, node.name, self._with_prefix(node), GROUPS[node.role]),
            now,
        )
        # Signing the same twice within a second gives the same certificate: times have seconds in it, and the
        # signature has no randomness.
        certificate = store.certificate(signed.fingerprint)
        if certificate is None:
            certificate = Certificate(signed.fingerprint, node.id, now, signed.not_after)
            store.add_certificate(certificate)
        elif certificate.revoked_at is not None or certificate.node_id != node.id:
            raise Unavailable("signing: this very certificate was just revoked", "try again in a second")
        return certificate, signed.pem

    def _is_due(self, certificate: Certificate, now: int) -> bool:
        return certificate.renew_at <= now or self._authorities.supersedes(certificate.issued_at, now)

    def _seen(self, store: Store, node: Node, now: int, **values: object) -> None:
        lease_until = now + self._settings.lease_seconds
        store.change_node(node.id, seen_at=now, lease_until=lease_until, **values)

    def _with_prefix(self, node: Node) -> str:
        return f"{node.address}/{self._settings.mesh_network.prefixlen}"


def _member(store: Store, bearer: str) -> Node:
    """Return the node that ``<node id>.<credential>`` belongs to, if it is in the pool."""
    node_id, _, credential = bearer.partition(".")
    node = store.node(node_id)
    if not matches(credential, node.credential_hash if node else None) or node is None:
        raise Refused("the authority knows no such node, or its credential is wrong", _JOIN_AGAIN)
    if node.revoked_at is not None:
        raise Refused(f"the node {node.name} was revoked: {node.reason}", "ask the pool's owner")
    if node.left_at is not None:
        raise Refused(f"the node {node.name} is no longer in the pool: {node.reason}", _JOIN_AGAIN)
    return node


def _is_repeat(node: Node, token: Token, key: str) -> bool:
    """Tell whether a node asks again for what it got, before it ever used it."""
    unused = node.seen_at is None and node.left_at is None and node.revoked_at is None
    return unused and (node.token_id, node.public_key) == (token.id, key) and token.revoked_at is None
