"""The tables, as the code of today sees them; ``migrations`` bring every older database to this.

Columns are named as the fields of the records that rows become.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    and_,
    false,
)

METADATA = MetaData()

tokens = Table(
    "tokens",
    METADATA,
    Column("id", String(32), primary_key=True),
    Column("role", String(16), nullable=False),
    Column("secret_hash", String(64), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("uses", Integer, nullable=False),
    Column("used", Integer, nullable=False),
    Column("revoked_at", BigInteger),
)

nodes = Table(
    "nodes",
    METADATA,
    Column("id", String(32), primary_key=True),
    Column("name", String(63), nullable=False),
    Column("role", String(16), nullable=False),
    Column("token_id", String(32), ForeignKey("tokens.id"), nullable=False),
    Column("public_key", Text, nullable=False),
    Column("credential_hash", String(64), nullable=False),
    Column("address", String(15), unique=True),
    Column("activity", String(16), nullable=False),
    Column("joined_at", BigInteger, nullable=False),
    Column("lease_until", BigInteger, nullable=False),
    Column("seen_at", BigInteger),
    Column("left_at", BigInteger),
    Column("revoked_at", BigInteger),
    Column("reason", String(200)),
    Column("blocks", String(64)),
    Column("model", String(200)),
    Column("held_address", String(15), index=True),
    Column("endpoint", Boolean, nullable=False, server_default=false()),
)

# A name is taken by one node that neither left nor was revoked; history may hold it any number of times.
_taken = and_(nodes.c.left_at.is_(None), nodes.c.revoked_at.is_(None))
Index("nodes_name_taken", nodes.c.name, unique=True, sqlite_where=_taken, postgresql_where=_taken)

certificates = Table(
    "certificates",
    METADATA,
    Column("fingerprint", String(64), primary_key=True),
    Column("node_id", String(32), ForeignKey("nodes.id"), nullable=False, index=True),
    Column("issued_at", BigInteger, nullable=False),
    Column("not_after", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
)

events = Table(
    "events",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("time", BigInteger, nullable=False),
    Column("kind", String(32), nullable=False),
    Column("detail", Text, nullable=False),
)

# What was shared, an entry for each kind; entries are added and never changed. No foreign key: nodes are forgotten.
credits = Table(
    "credits",
    METADATA,
    Column("observer", String(16), primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", String(16), primary_key=True),
    Column("node_id", String(32), nullable=False),
    Column("node_name", String(63), nullable=False),
    Column("public_name", String(200)),
    Column("peer_id", String(200), nullable=False),
    Column("model", String(200), nullable=False),
    Column("begins_at", BigInteger, nullable=False),
    Column("ends_at", BigInteger, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("booked_at", BigInteger, nullable=False),
)
