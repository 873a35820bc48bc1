"""The ledger of what nodes shared, and which node held an address at a moment."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the table, and fill in the addresses that are held now."""
    op.add_column("nodes", sa.Column("held_address", sa.String(15)))
    op.create_index("ix_nodes_held_address", "nodes", ["held_address"])
    nodes = sa.table("nodes", sa.column("address"), sa.column("held_address"))
    op.execute(nodes.update().values(held_address=nodes.c.address))
    op.create_table(
        "credits",
        sa.Column("observer", sa.String(16), primary_key=True),
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("kind", sa.String(16), primary_key=True),
        sa.Column("node_id", sa.String(32), nullable=False),
        sa.Column("node_name", sa.String(63), nullable=False),
        sa.Column("public_name", sa.String(200)),
        sa.Column("peer_id", sa.String(200), nullable=False),
        sa.Column("model", sa.String(200), nullable=False),
        sa.Column("begins_at", sa.BigInteger, nullable=False),
        sa.Column("ends_at", sa.BigInteger, nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("booked_at", sa.BigInteger, nullable=False),
    )
