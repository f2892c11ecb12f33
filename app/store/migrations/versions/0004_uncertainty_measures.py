"""Keep every measure of a prediction's uncertainty, so that strategies can rank by any of them."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_MEASURES = (
    "foreground_uncertainty",
    "top_uncertainty",
    "pairwise_dice",
    "category_entropy",
    "entropy",
    "entropy_lm",
    "entropy_lad",
    "entropy_lcx",
    "entropy_rca",
    "lesion_share",
    "region_share",
)


def upgrade() -> None:
    """Apply the revision."""
    for name in _MEASURES:
        op.add_column(
            "predictions", sa.Column(name, sa.Double(), nullable=False, server_default="0")
        )


def downgrade() -> None:
    """Take the revision back."""
    for name in reversed(_MEASURES):
        op.drop_column("predictions", name)
