"""Versions of labels: files first and on disk, then the row that names them."""

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.intake.label_check import CANONICAL_EXTENSION, CheckedLabel
from app.store.files import FileStore
from app.store.tables import ImageRow, Json, LabelRow


def store_label(
    session: Session,
    files: FileStore,
    image: ImageRow,
    checked: CheckedLabel,
    *,
    tag: str,
    annotator: str,
    now: float,
) -> LabelRow:
    """Add a version to the labels of an image; both files are on disk before the row."""
    submitted = files.put(checked.submitted, checked.extension)
    canonical = files.put(checked.canonical, CANONICAL_EXTENSION)
    row = LabelRow(
        image_id=image.id,
        tag=tag,
        version=_next_version(session, image.id, tag),
        sha256=canonical,
        submitted_sha256=submitted,
        # The client's own file name is not kept: it may hold a path or a person's name.
        submitted_name=f"{image.id}{checked.extension}",
        covers_calcium=checked.covers.calcium,
        covers_regions=checked.covers.regions,
        annotator=annotator,
        info=label_info(image, checked.info, now),
        created_at=now,
        deleted_at=None,
    )
    session.add(row)
    session.flush()
    return row


def store_prediction(
    session: Session, image: ImageRow, *, tag: str, sha256: str, info: Json, now: float
) -> LabelRow:
    """Add a prediction, whose file is in the store already, as a version of a label."""
    row = LabelRow(
        image_id=image.id,
        tag=tag,
        version=_next_version(session, image.id, tag),
        sha256=sha256,
        submitted_sha256=sha256,
        submitted_name=f"{image.id}{CANONICAL_EXTENSION}",
        covers_calcium=True,
        covers_regions=True,
        annotator="",
        info=label_info(image, info, now),
        created_at=now,
        deleted_at=None,
    )
    session.add(row)
    session.flush()
    return row


def label_info(image: ImageRow, said: Json, now: float) -> Json:
    """Return the info of a label with what every client expects in it."""
    return {**said, "ts": int(now), "name": f"{image.id}{CANONICAL_EXTENSION}"}


def _next_version(session: Session, image_id: str, tag: str) -> int:
    # Locks the image where the database has row locks; SQLite has one writer at a time.
    session.execute(select(ImageRow.id).where(ImageRow.id == image_id).with_for_update())
    newest = select(func.max(LabelRow.version)).where(
        LabelRow.image_id == image_id, LabelRow.tag == tag
    )
    return (session.scalar(newest) or 0) + 1
