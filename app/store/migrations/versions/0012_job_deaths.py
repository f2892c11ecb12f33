"""Count the workers that died in the middle of a job, since it last got further."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Apply the revision."""
    op.add_column("jobs", sa.Column("attempts", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("jobs", sa.Column("reached", sa.Double(), nullable=False, server_default="0"))


def downgrade() -> None:
    """Take the revision back."""
    op.drop_column("jobs", "reached")
    op.drop_column("jobs", "attempts")
