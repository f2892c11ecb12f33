"""Add what a DICOMweb server needs, and the calcium table of labels."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Apply the revision."""
    op.add_column("labels", sa.Column("scores", sa.JSON(), nullable=True))
    op.create_table(
        "label_exports",
        sa.Column("label_id", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_at", sa.Double(), nullable=False),
        sa.Column("problem", sa.String(), nullable=False),
        sa.Column("seg_uid", sa.String(length=64), nullable=False),
        sa.Column("sr_uid", sa.String(length=64), nullable=False),
        sa.Column("ended_at", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["label_id"], ["labels.id"]),
        sa.PrimaryKeyConstraint("label_id"),
    )
    op.create_index("label_exports_due", "label_exports", ["status", "next_at"])
    op.create_table(
        "segmentations",
        sa.Column("sop_uid", sa.String(length=64), nullable=False),
        sa.Column("origin", sa.String(length=16), nullable=False),
        sa.Column("label_id", sa.Integer(), nullable=True),
        sa.Column("problem", sa.String(), nullable=False),
        sa.Column("seen_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["label_id"], ["labels.id"]),
        sa.PrimaryKeyConstraint("sop_uid"),
    )
    op.create_table(
        "pacs",
        sa.Column("url", sa.String(), nullable=False),
        sa.Column("reached_at", sa.Double(), nullable=True),
        sa.Column("failed_at", sa.Double(), nullable=True),
        sa.Column("problem", sa.String(), nullable=False),
        sa.Column("synced_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("url"),
    )


def downgrade() -> None:
    """Take the revision back."""
    op.drop_table("pacs")
    op.drop_table("segmentations")
    op.drop_index("label_exports_due", "label_exports")
    op.drop_table("label_exports")
    op.drop_column("labels", "scores")
