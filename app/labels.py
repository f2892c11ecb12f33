"""Labels of images: submitting, finding, reviewing and deleting them.

A submission is checked completely before anything is stored, its files are on disk before
its row, and a row is never changed but for its review state: what was acknowledged stays.
"""

from collections.abc import Collection, Mapping
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app import audit
from app.access.identity import acting_name
from app.errors import LabelError, NotFoundError
from app.imaging.geometry import same_grid
from app.intake import label_versions
from app.intake.client_info import check_info, check_review, without
from app.intake.identifiers import LABEL_EXTENSIONS, check_name, split_extension
from app.intake.image_rows import grid_of
from app.intake.label_check import CANONICAL_EXTENSION, CheckedLabel, check_label
from app.intake.label_versions import StoredLabel
from app.intake.pool import FINAL_TAG, get_image
from app.pacs.exports import request_export
from app.sampling import leases
from app.settings import Settings
from app.store.files import FileStore
from app.store.tables import Json, LabelRow
from app.training.validation_patients import assign_side


def check_submission(
    session: Session,
    *,
    image_id: str,
    content: bytes,
    file_name: str,
    params: Mapping[str, object],
    needs_names: bool = False,
) -> CheckedLabel:
    """Check a label against its image, for which a session that only reads is enough.

    Checking a large label takes some hundred milliseconds, during which a transaction that
    may write would hold back every other writer.

    Args:
        session: Open session.
        image_id: Image that was labeled.
        content: The file as it came.
        file_name: Its name; only the ending counts.
        params: What the client says about it; ``label_info`` lists its segments in order.
        needs_names: Whether values without names are refused instead of taken for canonical.

    Raises:
        NotFoundError: If there is no such image.
        LabelError: If the label does not fit its image, or ``params`` cannot be kept.
    """
    image = get_image(session, image_id)
    checked = check_label(
        content,
        file_name=file_name,
        params=params,
        grid=grid_of(image),
        series_uid=image.series_uid,
        needs_names=needs_names,
    )
    check_info(checked.info, LabelError)
    return checked


def check_tag(checked: CheckedLabel, tag: str) -> None:
    """Check that a label can be kept under a tag.

    Raises:
        InvalidInputError: If the tag is not allowed, or a verdict cannot be read under it.
    """
    check_name(tag, "tag")
    check_review(checked.info, tag)


def keep_submission(
    session: Session,
    settings: Settings,
    label: StoredLabel,
    *,
    image_id: str,
    tag: str,
    annotator: str,
    now: float,
) -> LabelRow:
    """Keep a stored label as a new version, unless it is the newest one once more.

    A final label takes its image out of the pool, ends its lease and counts for the next
    training; with the first one of a patient it is decided whether the patient is for validation.
    Who sends the same bytes twice, saying the same about them, has pressed a button twice or got
    no answer the first time: that version stands for both.

    Raises:
        NotFoundError: If there is no such image.
        InvalidInputError: If the tag is not allowed, or a verdict cannot be read under it.
        LabelError: If the image has become another one since the check.
    """
    check_tag(label.checked, tag)
    annotator = acting_name(annotator)
    image = get_image(session, image_id)
    if not same_grid(grid_of(image), label.checked.grid):
        raise LabelError(f"image {image_id} changed meanwhile; load it again")
    repeated = label_versions.find_repeated(session, image, label, tag=tag, annotator=annotator)
    if repeated is not None:
        return repeated
    row = label_versions.store_label(session, image, label, tag=tag, annotator=annotator, now=now)
    change: Json = {"tag": tag, "version": row.version, "sha256": row.sha256}
    audit.record(session, annotator, "submit label", image.id, change, now=now)
    if tag == FINAL_TAG:
        request_export(session, settings, image, row, now=now)
        # Before the lease ends: how the image was chosen decides.
        assign_side(session, image, percent=settings.validation_percent, now=now)
        worked = leases.end_by_label(session, image.id, annotator, settings, now=now)
        row.annotation_seconds = worked
    return row


def keep_prediction(
    session: Session,
    files: FileStore,
    *,
    image_id: str,
    tag: str,
    sha256: str,
    info: Json,
    now: float,
) -> LabelRow:
    """Keep a prediction as a label, so that viewers load it with its image.

    Keeping the newest one again changes nothing.

    Raises:
        InvalidInputError: If the tag is not allowed.
        LabelError: If the tag is the one of people's labels, or a person's label has it.
        NotFoundError: If there is no such image, or no such file in the store.
    """
    if check_name(tag, "tag") == FINAL_TAG:
        raise LabelError("a prediction is no final label; choose another tag")
    files.path(sha256, CANONICAL_EXTENSION)
    image = get_image(session, image_id)
    newest = find_label(session, image_id, tag)
    if newest is not None and newest.sha256 == sha256:
        return newest
    if newest is not None and is_of_a_person(newest):
        raise LabelError(f"the label {tag[:128]!r} is of a person; choose another tag")
    return label_versions.store_prediction(
        session, image, tag=tag, sha256=sha256, info=info, now=now
    )


def find_label(session: Session, image_id: str, tag: str) -> LabelRow | None:
    """Return the newest version of a label that was not deleted, or None."""
    newest = select(LabelRow).where(
        LabelRow.image_id == image_id, LabelRow.tag == tag, LabelRow.deleted_at.is_(None)
    )
    return session.scalars(newest.order_by(LabelRow.version.desc()).limit(1)).first()


def is_of_a_person(row: LabelRow) -> bool:
    """Tell whether a person made a label, or judged the prediction that it is."""
    return bool(row.annotator) or "segmentationMeta" in row.info


def current_label(session: Session, image_id: str, tag: str = FINAL_TAG) -> LabelRow:
    """Return the newest version of a label that was not deleted.

    Raises:
        NotFoundError: If there is none, or no such image.
    """
    get_image(session, image_id)
    row = find_label(session, image_id, tag)
    if row is None:
        raise NotFoundError(f"image {image_id} has no label {tag[:128]!r}")
    return row


def images_with_label_of_a_person(
    session: Session, tag: str, image_ids: Collection[str]
) -> set[str]:
    """Return those of the images whose newest label under a tag a person made or judged."""
    newest = (
        select(func.max(LabelRow.id))
        .where(LabelRow.image_id.in_(image_ids))
        .where(LabelRow.tag == tag, LabelRow.deleted_at.is_(None))
        .group_by(LabelRow.image_id)
    )
    rows = session.scalars(select(LabelRow).where(LabelRow.id.in_(newest)))
    return {row.image_id for row in rows if is_of_a_person(row)}


def label_file(files: FileStore, row: LabelRow) -> Path:
    """Return the canonical label map of a version, a gzipped NRRD.

    Raises:
        NotFoundError: If the file store has lost it.
    """
    return files.path(row.sha256, CANONICAL_EXTENSION)


def submitted_file(files: FileStore, row: LabelRow) -> Path:
    """Return the bytes of a version as they were submitted.

    Raises:
        NotFoundError: If the file store has lost them.
    """
    _, extension = split_extension(row.submitted_name, LABEL_EXTENSIONS)
    return files.path(row.submitted_sha256, extension)


def delete_label(session: Session, image_id: str, tag: str, *, actor: str, now: float) -> bool:
    """Hide every version of a label; rows and files are kept.

    Returns:
        Whether there was any.

    Raises:
        NotFoundError: If there is no such image.
    """
    get_image(session, image_id)
    shown = select(LabelRow).where(
        LabelRow.image_id == image_id, LabelRow.tag == tag, LabelRow.deleted_at.is_(None)
    )
    versions = session.scalars(shown).all()
    for row in versions:
        row.deleted_at = now
    if versions:
        change: Json = {"tag": tag, "versions": [row.version for row in versions]}
        audit.record(session, actor, "delete label", image_id, change, now=now)
    return bool(versions)


def update_label_info(
    session: Session, image_id: str, tag: str, info: Json, *, actor: str, now: float
) -> LabelRow:
    """Merge what a reviewer says into the info of the current label.

    Raises:
        NotFoundError: If there is no such label.
        InvalidInputError: If its review lacks what clients read.
        LabelError: If it cannot be kept as JSON.
    """
    row = current_label(session, image_id, tag)
    kept = without(info, "ts", "name")
    check_review(kept, tag)
    merged = {**row.info, **kept, "user": actor}
    check_info(merged, LabelError)
    before = {key: row.info.get(key) for key in kept}
    change: Json = {"tag": tag, "version": row.version, "before": before, "after": kept}
    audit.record(session, actor, "update label info", image_id, change, now=now)
    row.info = merged
    return row
