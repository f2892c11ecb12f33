"""Rank the pool by predictions of one key: the index that covers them begins with it."""

from alembic import op

revision = "0008"
down_revision = "0007"

_MEASURES = (
    *("id", "image_id", "has_candidates", "agatston"),
    *("clinical_uncertainty", "lesion_uncertainty", "foreground_uncertainty", "entropy"),
    *("entropy_lm", "entropy_lad", "entropy_lcx", "entropy_rca"),
    *("lesion_count", "slice_count"),
)


def upgrade() -> None:
    """Apply the revision."""
    _replace(["model_version_id", "key", *_MEASURES])


def downgrade() -> None:
    """Take the revision back."""
    _replace(["model_version_id", *_MEASURES])


def _replace(columns: list[str]) -> None:
    op.drop_index("predictions_pool", "predictions")
    op.create_index("predictions_pool", "predictions", columns)
