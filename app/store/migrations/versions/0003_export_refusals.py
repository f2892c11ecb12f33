"""Count how often an export was refused, apart from the attempts that nobody answered."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Apply the revision."""
    op.add_column(
        "label_exports", sa.Column("refusals", sa.Integer(), nullable=False, server_default="0")
    )


def downgrade() -> None:
    """Take the revision back."""
    op.drop_column("label_exports", "refusals")
