"""Index what the mirrors of the pool read: predictions of one key, and deleted labels."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

_MEASURES = (
    *("id", "image_id", "has_candidates", "agatston"),
    *("clinical_uncertainty", "lesion_uncertainty", "foreground_uncertainty", "entropy"),
    *("entropy_lm", "entropy_lad", "entropy_lcx", "entropy_rca"),
    *("lesion_count", "slice_count"),
)

_IS_DELETED = sa.text("deleted_at IS NOT NULL")


def upgrade() -> None:
    """Apply the revision."""
    op.drop_index("predictions_pool", "predictions")
    op.create_index("predictions_pool", "predictions", ["model_version_id", "key", *_MEASURES])
    op.create_index(
        "labels_deleted",
        "labels",
        ["deleted_at"],
        sqlite_where=_IS_DELETED,
        postgresql_where=_IS_DELETED,
    )


def downgrade() -> None:
    """Take the revision back."""
    op.drop_index("labels_deleted", "labels")
    op.drop_index("predictions_pool", "predictions")
    op.create_index("predictions_pool", "predictions", ["model_version_id", *_MEASURES])
