"""What happens to the row of an image when its files are found elsewhere or changed."""

import logging

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.errors import ImagingError
from app.intake import image_rows
from app.intake.identifiers import for_log
from app.intake.image_rows import MeasuredVolume, Origin
from app.store.tables import ImageRow, LabelRow, PredictionRow

logger = logging.getLogger(__name__)


def reattach(session: Session, row: ImageRow, measured: MeasuredVolume, origin: Origin) -> None:
    """Take over where the same voxels lie now, and what the headers say by now.

    Another tube voltage means another threshold: what was predicted with the old one goes, and
    whoever found the files asks for scores of every image that has none.
    """
    if row.kvp != measured.volume.kvp:
        session.execute(delete(PredictionRow).where(PredictionRow.image_id == row.id))
    for column, value in image_rows.header_facts(measured.volume, row.content_sha256).items():
        setattr(row, column, value)
    row.noise_sd_hu, row.metal_mm3 = measured.noise_sd_hu, measured.metal_mm3
    row.path, row.kind, row.signature = origin.path, origin.kind, origin.signature
    row.source = origin.source
    row.name, row.file_sha256 = f"{row.id}{origin.extension}", origin.file_sha256
    if row.removed_at is None:
        row.missing_since = None


def replace(
    session: Session,
    row: ImageRow,
    measured: MeasuredVolume,
    origin: Origin,
    *,
    refusal: str,
    now: float,
) -> None:
    """Take over changed files, unless somebody has labeled what they showed before.

    Raises:
        ImagingError: With ``refusal`` if there is a label.
    """
    if has_labels(session, row.id):
        raise ImagingError(refusal)
    session.execute(delete(PredictionRow).where(PredictionRow.image_id == row.id))
    session.merge(image_rows.image_row(row.id, measured, origin, row.info, now=row.registered_at))
    logger.info(for_log(row.id, f"image {row.id} has new content since {now:.0f}"))


def has_labels(session: Session, image_id: str) -> bool:
    """Tell whether an image ever had a label, of any tag."""
    wanted = select(LabelRow.id).where(LabelRow.image_id == image_id)
    return session.scalars(wanted.limit(1)).first() is not None
