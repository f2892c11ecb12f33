"""What the pool is: which images there are and which of them are labeled."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.orm import Session

from app.errors import NotFoundError
from app.store.tables import ImageRow, LabelRow

FINAL_TAG: Final = "final"
"""Tag of the labels that count: an image is labeled when it has a label with this tag."""


def get_image(session: Session, image_id: str) -> ImageRow:
    """Return an image, also one whose files are gone for now.

    Raises:
        NotFoundError: If there is none with this id, or it was removed.
    """
    row = session.get(ImageRow, image_id)
    if row is None or row.removed_at is not None:
        raise NotFoundError(f"no image {image_id[:128]!r}")
    return row


def labeled_ids() -> Select[str]:
    """Select the ids of all images with a final label."""
    return select(LabelRow.image_id).where(LabelRow.tag == FINAL_TAG, LabelRow.deleted_at.is_(None))


def is_available() -> ColumnElement[bool]:
    """Select the images whose files are there and that nobody removed."""
    return ImageRow.missing_since.is_(None) & ImageRow.removed_at.is_(None)


def current_labels(session: Session, tag: str = FINAL_TAG) -> Sequence[tuple[LabelRow, ImageRow]]:
    """Return the newest label of each available image under a tag, oldest label first."""
    newest = (
        select(LabelRow.image_id, func.max(LabelRow.version).label("version"))
        .where(LabelRow.tag == tag, LabelRow.deleted_at.is_(None))
        .group_by(LabelRow.image_id)
        .subquery()
    )
    is_newest = (newest.c.image_id == LabelRow.image_id) & (newest.c.version == LabelRow.version)
    rows = (
        select(LabelRow, ImageRow)
        .join(ImageRow, ImageRow.id == LabelRow.image_id)
        .join(newest, is_newest)
        .where(LabelRow.tag == tag, is_available())
        .order_by(LabelRow.id)
    )
    return [(label, image) for label, image in session.execute(rows)]
