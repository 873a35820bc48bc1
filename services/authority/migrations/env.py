"""What Alembic runs around the migrations: on the connection, and in the transaction, that it is handed."""

from alembic import context

from services.authority.store_schema import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
with context.begin_transaction():
    context.run_migrations()
