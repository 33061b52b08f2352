"""Alembic's entry: runs the versions in one transaction on the connection that `portal.schema` hands over."""

from alembic import context

from portal.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata())
with context.begin_transaction():
    context.run_migrations()
