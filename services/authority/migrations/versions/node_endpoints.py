"""Which nodes run an endpoint."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the column; nodes say it with their next heartbeat."""
    op.add_column("nodes", sa.Column("endpoint", sa.Boolean, nullable=False, server_default=sa.false()))
