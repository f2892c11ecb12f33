"""Count the changes of the pool that its mirrors cannot see by ids or times.

Triggers, so that no code that changes a row has to remember it. A later revision that makes
one of the tables anew, as batch operations on SQLite do, has to make its triggers anew.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_IS_OTHER = (
    "(OLD.patient_key <> NEW.patient_key"
    " OR (OLD.missing_since IS NOT NULL AND NEW.missing_since IS NULL))"
)

_SQLITE = (
    "INSERT INTO pool_changes DEFAULT VALUES",
    # One row that counts: SQLite has one writer at a time.
    "CREATE TRIGGER pool_predictions AFTER DELETE ON predictions"
    " BEGIN UPDATE pool_changes SET id = id + 1; END",
    "CREATE TRIGGER pool_images AFTER UPDATE OF patient_key, missing_since ON images"  # noqa: S608 - constants
    f" WHEN {_IS_OTHER} BEGIN UPDATE pool_changes SET id = id + 1; END",
)

_POSTGRESQL = (
    # A row each time: transactions that change the same row would wait for each other.
    "CREATE FUNCTION note_pool_change() RETURNS trigger LANGUAGE plpgsql AS"
    " $$ BEGIN INSERT INTO pool_changes DEFAULT VALUES; RETURN NULL; END $$",
    "CREATE TRIGGER pool_predictions AFTER DELETE ON predictions"
    " FOR EACH STATEMENT EXECUTE FUNCTION note_pool_change()",
    "CREATE TRIGGER pool_images AFTER UPDATE OF patient_key, missing_since ON images"
    f" FOR EACH ROW WHEN {_IS_OTHER} EXECUTE FUNCTION note_pool_change()",
)


def upgrade() -> None:
    """Apply the revision."""
    op.create_table(
        "pool_changes",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    for statement in _SQLITE if is_sqlite else _POSTGRESQL:
        op.execute(statement)


def downgrade() -> None:
    """Take the revision back."""
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    for name, table in (("pool_images", "images"), ("pool_predictions", "predictions")):
        op.execute(f"DROP TRIGGER {name}" + ("" if is_sqlite else f" ON {table}"))
    if not is_sqlite:
        op.execute("DROP FUNCTION note_pool_change")
    op.drop_table("pool_changes")
