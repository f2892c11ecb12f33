"""Keep how long annotators take, what was drawn at random, and what a pool is ranked by."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_RANKED_BY = (
    *("model_version_id", "id", "image_id", "has_candidates", "agatston"),
    *("clinical_uncertainty", "lesion_uncertainty", "foreground_uncertainty", "entropy"),
    *("entropy_lm", "entropy_lad", "entropy_lcx", "entropy_rca"),
    *("lesion_count", "slice_count"),
)


def upgrade() -> None:
    """Apply the revision."""
    op.add_column("labels", sa.Column("annotation_seconds", sa.Double(), nullable=True))
    for name in ("lesion_count", "slice_count"):
        op.add_column(
            "predictions", sa.Column(name, sa.Integer(), nullable=False, server_default="0")
        )
    op.create_index("predictions_pool", "predictions", list(_RANKED_BY))
    op.add_column(
        "leases", sa.Column("is_random", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    for name in ("model_version_id", "lesion_count", "slice_count"):
        op.add_column("leases", sa.Column(name, sa.Integer(), nullable=True))
    op.add_column("leases", sa.Column("seen_at", sa.Double(), nullable=True))
    op.add_column(
        "leases", sa.Column("active_seconds", sa.Double(), nullable=False, server_default="0")
    )


def downgrade() -> None:
    """Take the revision back."""
    for name in ("active_seconds", "seen_at", "slice_count", "lesion_count", "model_version_id"):
        op.drop_column("leases", name)
    op.drop_column("leases", "is_random")
    op.drop_index("predictions_pool", "predictions")
    for name in ("slice_count", "lesion_count"):
        op.drop_column("predictions", name)
    op.drop_column("labels", "annotation_seconds")
