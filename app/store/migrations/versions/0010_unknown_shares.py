"""Keep the shares of a prediction's variance as unknown where too few samples were drawn.

Columns are renamed, not the table made anew, so that its triggers stay.
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

_SHARES = ("lesion_share", "region_share")

_ARE_TOO_FEW = "(key LIKE '% samples=2 %' OR key LIKE '% samples=3 %')"
"""Half of the samples are drawn again in each head alone, and one value has no variance."""


def upgrade() -> None:
    """Apply the revision."""
    for name in _SHARES:
        op.execute(f"ALTER TABLE predictions RENAME COLUMN {name} TO {name}_before")
        op.add_column("predictions", sa.Column(name, sa.Double(), nullable=True))
        op.execute(
            f"UPDATE predictions SET {name} = {name}_before WHERE NOT {_ARE_TOO_FEW}"  # noqa: S608 - constants
        )
        op.drop_column("predictions", f"{name}_before")


def downgrade() -> None:
    """Take the revision back."""
    for name in _SHARES:
        op.execute(f"ALTER TABLE predictions RENAME COLUMN {name} TO {name}_before")
        op.add_column(
            "predictions", sa.Column(name, sa.Double(), nullable=False, server_default="0")
        )
        op.execute(
            f"UPDATE predictions SET {name} = coalesce({name}_before, 0)"  # noqa: S608 - constants
        )
        op.drop_column("predictions", f"{name}_before")
