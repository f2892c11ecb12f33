"""Alembic's entry point: always run by ``Database.migrate`` over an open connection."""

from alembic import context

from app.access import rows  # noqa: F401 - brings its tables into the metadata
from app.store.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    # SQLite cannot alter most of a table in place.
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
