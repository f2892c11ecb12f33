"""Versions of labels: files first and on disk, then the row that names them."""

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.intake.label_check import CANONICAL_EXTENSION, CheckedLabel
from app.store.files import FileStore
from app.store.tables import ImageRow, Json, LabelRow


@dataclass(frozen=True)
class StoredLabel:
    """A checked label whose files are on disk.

    Attributes:
        checked: The label.
        submitted_sha256: Name of the bytes as they came in the file store.
        sha256: Name of the canonical label map there.
    """

    checked: CheckedLabel
    submitted_sha256: str
    sha256: str


def put_files(files: FileStore, checked: CheckedLabel) -> StoredLabel:
    """Put both files of a label on disk, outside of any transaction: disks take their time."""
    submitted = files.put(checked.submitted, checked.extension)
    return StoredLabel(checked, submitted, files.put(checked.canonical, CANONICAL_EXTENSION))


def find_repeated(
    session: Session, image: ImageRow, label: StoredLabel, *, tag: str, annotator: str
) -> LabelRow | None:
    """Return the newest version of a label when it is this very submission, else None.

    The same bytes under other names are another label, and so are they from somebody else or
    with another verdict.
    """
    _lock(session, image.id)
    newest = select(LabelRow).where(LabelRow.image_id == image.id, LabelRow.tag == tag)
    row = session.scalars(newest.order_by(LabelRow.version.desc()).limit(1)).first()
    if row is None or row.deleted_at is not None or row.annotator != annotator:
        return None
    if (row.submitted_sha256, row.sha256) != (label.submitted_sha256, label.sha256):
        return None
    said = label_info(image, label.checked.info, row.created_at)
    return row if row.info == said else None


def store_label(
    session: Session, image: ImageRow, label: StoredLabel, *, tag: str, annotator: str, now: float
) -> LabelRow:
    """Add a version to the labels of an image."""
    checked = label.checked
    row = LabelRow(
        sha256=label.sha256,
        submitted_sha256=label.submitted_sha256,
        # The client's own file name is not kept: it may hold a path or a person's name.
        submitted_name=f"{image.id}{checked.extension}",
        covers_calcium=checked.covers.calcium,
        covers_regions=checked.covers.regions,
        annotator=annotator,
        info=label_info(image, checked.info, now),
    )
    return _add(session, row, image, tag, now)


def store_prediction(
    session: Session, image: ImageRow, *, tag: str, sha256: str, info: Json, now: float
) -> LabelRow:
    """Add a prediction, whose file is in the store already, as a version of a label."""
    row = LabelRow(
        sha256=sha256,
        submitted_sha256=sha256,
        submitted_name=f"{image.id}{CANONICAL_EXTENSION}",
        covers_calcium=True,
        covers_regions=True,
        annotator="",
        info=label_info(image, info, now),
    )
    return _add(session, row, image, tag, now)


def label_info(image: ImageRow, said: Json, now: float) -> Json:
    """Return the info of a label with what every client expects in it."""
    return {**said, "ts": int(now), "name": f"{image.id}{CANONICAL_EXTENSION}"}


def _add(session: Session, row: LabelRow, image: ImageRow, tag: str, now: float) -> LabelRow:
    """Add a label as the next version under a tag."""
    _lock(session, image.id)
    newest = select(func.max(LabelRow.version)).where(
        LabelRow.image_id == image.id, LabelRow.tag == tag
    )
    row.image_id, row.tag, row.created_at, row.deleted_at = image.id, tag, now, None
    row.version = (session.scalar(newest) or 0) + 1
    session.add(row)
    session.flush()
    return row


def _lock(session: Session, image_id: str) -> None:
    """Let no other version come meanwhile; SQLite has one writer at a time anyway."""
    session.execute(select(ImageRow.id).where(ImageRow.id == image_id).with_for_update())
