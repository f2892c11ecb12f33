"""Keep who is for validation, how each version was judged, and which answered before which."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Apply the revision; every version there is answered once, one after the other."""
    op.add_column("model_versions", sa.Column("decision", sa.JSON(), nullable=True))
    op.add_column("model_versions", sa.Column("calibration", sa.JSON(), nullable=True))
    activations = op.create_table(
        "activations",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("model_version_id", sa.Integer(), nullable=False),
        sa.Column("below_id", sa.Integer(), nullable=True),
        sa.Column("at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["model_version_id"], ["model_versions.id"]),
        sa.ForeignKeyConstraint(["below_id"], ["activations.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "patient_sides",
        sa.Column("patient_key", sa.String(length=64), nullable=False),
        sa.Column("is_validation", sa.Boolean(), nullable=False),
        sa.Column("decided_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("patient_key"),
    )
    _note_past_activations(activations)


def downgrade() -> None:
    """Take the revision back."""
    op.drop_table("patient_sides")
    op.drop_table("activations")
    op.drop_column("model_versions", "calibration")
    op.drop_column("model_versions", "decision")


def _note_past_activations(activations: sa.Table) -> None:
    connection = op.get_bind()
    versions = sa.table(
        "model_versions",
        sa.column("id", sa.Integer),
        sa.column("created_at", sa.Double),
    )
    below = None
    wanted = sa.select(versions.c.id, versions.c.created_at).order_by(versions.c.id)
    for version_id, created_at in connection.execute(wanted).all():
        values = {"model_version_id": version_id, "below_id": below, "at": created_at}
        done = connection.execute(sa.insert(activations).values(values))
        below = done.inserted_primary_key[0] if done.inserted_primary_key else None
