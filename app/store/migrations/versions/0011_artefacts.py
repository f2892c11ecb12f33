"""Add the noise and the metal of images, whose change mirrors of the pool notice.

What is in the pool already keeps both unknown, which flags nothing.
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

_BEFORE = ("missing_since", "registered_at", "id", "patient_key")
_ADDED = ("noise_sd_hu", "metal_mm3")

_IS_OTHER = (
    "(OLD.patient_key <> NEW.patient_key"
    " OR (OLD.missing_since IS NOT NULL AND NEW.missing_since IS NULL)"
)


def upgrade() -> None:
    """Apply the revision."""
    for name in _ADDED:
        op.add_column("images", sa.Column(name, sa.Double(), nullable=True))
    op.drop_index("images_pool", "images")
    op.create_index("images_pool", "images", [*_BEFORE, *_ADDED])
    differs = "IS NOT" if _is_sqlite() else "IS DISTINCT FROM"
    added = "".join(f" OR OLD.{name} {differs} NEW.{name}" for name in _ADDED)
    _replace_trigger(("patient_key", "missing_since", *_ADDED), f"{_IS_OTHER}{added})")


def downgrade() -> None:
    """Take the revision back."""
    _replace_trigger(("patient_key", "missing_since"), f"{_IS_OTHER})")
    op.drop_index("images_pool", "images")
    op.create_index("images_pool", "images", [*_BEFORE])
    for name in _ADDED:
        op.drop_column("images", name)


def _replace_trigger(columns: tuple[str, ...], condition: str) -> None:
    op.execute("DROP TRIGGER pool_images" + ("" if _is_sqlite() else " ON images"))
    begin = f"CREATE TRIGGER pool_images AFTER UPDATE OF {', '.join(columns)} ON images"
    if _is_sqlite():
        op.execute(
            f"{begin} WHEN {condition} BEGIN UPDATE pool_changes SET id = id + 1; END"  # noqa: S608 - constants
        )
    else:
        op.execute(f"{begin} FOR EACH ROW WHEN {condition} EXECUTE FUNCTION note_pool_change()")


def _is_sqlite() -> bool:
    return op.get_bind().dialect.name == "sqlite"
