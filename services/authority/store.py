"""Every SQL statement of the authority's work; ``store_database`` opens the transactions these run in."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, delete, func, or_, select, update

from services.authority.nodes import Certificate, Node
from services.authority.store_schema import certificates, credits, events, nodes, tokens
from services.authority.tokens import Role, Token

KEPT_EVENTS = 10_000
KEPT_NODES = 1_000
"""How many of the nodes that left or were revoked are remembered, the last ones, besides those that must be: of
which a certificate would still be good."""
_AT_ONCE = 100


class Store:
    """The records, within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def check(self) -> None:
        """Raise if the database does not answer."""
        self._connection.execute(select(func.count()).select_from(select(nodes.c.id).limit(1).subquery()))

    # Tokens

    def add_token(self, token: Token) -> None:
        """Store a new token."""
        self._connection.execute(tokens.insert().values(vars(token)))

    def token(self, token_id: str) -> Token | None:
        """Return the token with this id."""
        row = self._first(select(tokens).where(tokens.c.id == token_id))
        return Token(**row) if row else None

    def tokens(self) -> list[Token]:
        """Return all tokens, the newest first."""
        rows = self._connection.execute(select(tokens).order_by(tokens.c.created_at.desc(), tokens.c.id))
        return [Token(**row) for row in rows.mappings()]

    def spend_token(self, token_id: str, now: int) -> bool:
        """Count one use, if one is left: the guard and the count are one statement, so no race exceeds it."""
        spent = self._connection.execute(
            update(tokens)
            .where(
                tokens.c.id == token_id,
                tokens.c.used < tokens.c.uses,
                tokens.c.expires_at > now,
                tokens.c.revoked_at.is_(None),
            )
            .values(used=tokens.c.used + 1)
        )
        return spent.rowcount == 1

    def revoke_token(self, token_id: str, now: int) -> None:
        """Make a token worthless; one that is revoked keeps its time."""
        self._connection.execute(
            update(tokens)
            .where(tokens.c.id == token_id, tokens.c.revoked_at.is_(None))
            .values(revoked_at=now)
        )

    def revoke_unused_tokens(self, role: Role, now: int) -> None:
        """Make the tokens of a role worthless that nobody has enrolled with."""
        unused = and_(tokens.c.role == role, tokens.c.used == 0, tokens.c.revoked_at.is_(None))
        self._connection.execute(update(tokens).where(unused).values(revoked_at=now))

    # Nodes

    def add_node(self, node: Node) -> None:
        """Store a new node, and forget those that ended long ago."""
        self._connection.execute(nodes.insert().values(vars(node)))
        ended = func.coalesce(nodes.c.left_at, nodes.c.revoked_at)
        older = (
            select(nodes.c.id).where(ended.is_not(None)).order_by(ended.desc(), nodes.c.id).offset(KEPT_NODES)
        )
        blocked = select(certificates.c.node_id).where(certificates.c.not_after > node.joined_at)
        chosen = select(nodes.c.id).where(nodes.c.id.in_(older), nodes.c.id.not_in(blocked)).limit(_AT_ONCE)
        forgotten = list(self._connection.scalars(chosen))
        if forgotten:
            self._connection.execute(delete(certificates).where(certificates.c.node_id.in_(forgotten)))
            self._connection.execute(delete(nodes).where(nodes.c.id.in_(forgotten)))

    def change_node(self, node_id: str, **values: object) -> None:
        """Set fields of a node."""
        self._connection.execute(update(nodes).where(nodes.c.id == node_id).values(values))

    def node(self, node_id: str) -> Node | None:
        """Return the node with this id."""
        return self._node(select(nodes).where(nodes.c.id == node_id))

    def node_named(self, name: str) -> Node | None:
        """Return the node that has this name now, or had it last before it was revoked or left."""
        taken = and_(nodes.c.left_at.is_(None), nodes.c.revoked_at.is_(None))
        order = (taken.desc(), nodes.c.joined_at.desc(), nodes.c.id)
        return self._node(select(nodes).where(nodes.c.name == name).order_by(*order).limit(1))

    def nodes(self) -> list[Node]:
        """Return all nodes that ever enrolled, in that order."""
        rows = self._connection.execute(select(nodes).order_by(nodes.c.joined_at, nodes.c.name, nodes.c.id))
        return [Node(**row) for row in rows.mappings()]

    def members(self, *conditions: ColumnElement[bool]) -> list[Node]:
        """Return the nodes that neither left nor were revoked, in the order that they enrolled in."""
        query = select(nodes).where(nodes.c.left_at.is_(None), nodes.c.revoked_at.is_(None), *conditions)
        rows = self._connection.execute(query.order_by(nodes.c.joined_at, nodes.c.name, nodes.c.id))
        return [Node(**row) for row in rows.mappings()]

    def seeds(self) -> list[Node]:
        """Return the members that others find each other through."""
        return self.members(nodes.c.role == "seed")

    def endpoint_addresses(self, now: int, most: int) -> list[str]:
        """Return addresses of the first workers to enrol of those that are there and run an endpoint."""
        there = (nodes.c.role == "worker", nodes.c.lease_until > now, nodes.c.endpoint.is_(True))
        return [node.address for node in self.members(*there) if node.address is not None][:most]

    def held_addresses(self) -> set[str]:
        """Return the addresses that no new node may have without taking them from another."""
        held = self._connection.scalars(select(nodes.c.address).where(nodes.c.address.is_not(None)))
        return {address for address in held if address is not None}

    def holder(self, address: str, moment: int) -> Node | None:
        """Return the node that had this address at a moment."""
        stayed = or_(nodes.c.left_at.is_(None), nodes.c.left_at >= moment)
        held = and_(nodes.c.held_address == address, nodes.c.joined_at <= moment, stayed)
        return self._node(select(nodes).where(held).order_by(nodes.c.joined_at.desc(), nodes.c.id).limit(1))

    def reclaimable_node(self, now: int) -> Node | None:
        """Return the node longest gone whose address may be taken: no certificate for it is good any more."""
        usable = select(certificates.c.fingerprint).where(
            certificates.c.node_id == nodes.c.id,
            certificates.c.not_after > now,
            certificates.c.revoked_at.is_(None),
        )
        return self._node(
            select(nodes)
            .where(nodes.c.address.is_not(None), nodes.c.lease_until <= now, ~usable.exists())
            .order_by(nodes.c.lease_until, nodes.c.id)
            .limit(1)
        )

    # Certificates

    def add_certificate(self, certificate: Certificate) -> None:
        """Store what was signed, and forget the node's certificates that have ended."""
        over = and_(
            certificates.c.node_id == certificate.node_id, certificates.c.not_after <= certificate.issued_at
        )
        self._connection.execute(delete(certificates).where(over))
        self._connection.execute(certificates.insert().values(vars(certificate)))

    def certificate(self, fingerprint: str) -> Certificate | None:
        """Return the certificate with this fingerprint."""
        row = self._first(select(certificates).where(certificates.c.fingerprint == fingerprint))
        return Certificate(**row) if row else None

    def newest_certificate(self, node_id: str) -> Certificate | None:
        """Return the last certificate that was signed for a node."""
        order = (certificates.c.issued_at.desc(), certificates.c.not_after.desc())
        query = select(certificates).where(certificates.c.node_id == node_id).order_by(*order).limit(1)
        row = self._first(query)
        return Certificate(**row) if row else None

    def revoke_certificates(self, node_id: str, now: int) -> None:
        """Put all certificates of a node on the list of those that nobody may accept."""
        self._connection.execute(
            update(certificates)
            .where(certificates.c.node_id == node_id, certificates.c.revoked_at.is_(None))
            .values(revoked_at=now)
        )

    def blocklist(self, now: int) -> list[str]:
        """Return the fingerprints of revoked certificates that would be good otherwise."""
        query = select(certificates.c.fingerprint).where(
            certificates.c.revoked_at.is_not(None), certificates.c.not_after > now
        )
        return list(self._connection.scalars(query.order_by(certificates.c.fingerprint)))

    # Credits

    def is_booked(self, observer: str, number: int) -> bool:
        """Tell whether the ledger has an entry already."""
        known = select(credits.c.kind).where(credits.c.observer == observer, credits.c.number == number)
        return self._first(known.limit(1)) is not None

    def book(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add entries to the ledger, by the names of its columns."""
        self._connection.execute(credits.insert(), list(rows))

    def credit_sums(self) -> list[Mapping[str, Any]]:
        """Return ``amount`` and the last ``ends_at`` by node, its names, and kind; in no order."""
        who = (credits.c.node_id, credits.c.node_name, credits.c.public_name, credits.c.kind)
        sums = select(
            *who,
            func.sum(credits.c.amount).label("amount"),
            func.max(credits.c.ends_at).label("ends_at"),
        ).group_by(*who)
        return [dict(row) for row in self._connection.execute(sums).mappings()]

    # Events

    def add_event(self, now: int, kind: str, detail: str) -> None:
        """Note what happened, and forget what happened long ago; ``detail`` holds no secret."""
        added = events.insert().values(time=now, kind=kind, detail=detail).returning(events.c.id)
        newest = self._connection.execute(added).scalar_one()
        self._connection.execute(delete(events).where(events.c.id <= newest - KEPT_EVENTS))

    def events(self) -> list[tuple[int, str, str]]:
        """Return time, kind and detail of what happened, in that order."""
        query = select(events.c.time, events.c.kind, events.c.detail).order_by(events.c.id)
        return [(row.time, row.kind, row.detail) for row in self._connection.execute(query)]

    def _node(self, query: Select[Any]) -> Node | None:
        row = self._first(query)
        return Node(**row) if row else None

    def _first(self, query: Select[Any]) -> Mapping[str, Any] | None:
        row = self._connection.execute(query).mappings().first()
        return {str(key): value for key, value in row.items()} if row else None
