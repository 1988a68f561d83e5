"""Runs migrations on the connection that `storage.sql.migrate` opened."""

from alembic import context

from sublet_hub.storage.sql.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    compare_type=True,
    compare_server_default=True,
    render_as_batch=True,  # SQLite changes a table by making it anew
)

with context.begin_transaction():
    context.run_migrations()
