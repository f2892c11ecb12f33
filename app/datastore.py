"""The pool as a MONAI Label datastore: counts, the index of everything, and a data set."""

import json
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from app import images, labels
from app.calcium.labels import LABELS
from app.errors import NotFoundError
from app.intake.label_check import CANONICAL_EXTENSION
from app.intake.pool import FINAL_TAG
from app.settings import Settings
from app.store.files import FileStore
from app.store.tables import ImageRow, Json, LabelRow, LeaseRow

_AT_ONCE: Final = 500
"""Images that are described together: more take more memory, fewer more waits for other threads."""


@dataclass(frozen=True)
class DatastoreStats:
    """How far the pool is labeled.

    Attributes:
        total: Images that can be opened.
        completed: Images of those with a final label.
        label_tags: Number of images by tag of their labels.
    """

    total: int
    completed: int
    label_tags: dict[str, int]


@dataclass(frozen=True)
class LabeledImage:
    """An image with its final label.

    Attributes:
        image: The image.
        label: The newest version of its final label.
    """

    image: ImageRow
    label: LabelRow


def stats(session: Session) -> DatastoreStats:
    """Count images and labels."""
    present = select(func.count()).select_from(ImageRow).where(ImageRow.missing_since.is_(None))
    by_tag = (
        select(LabelRow.tag, func.count(LabelRow.image_id.distinct()))
        .join(ImageRow, ImageRow.id == LabelRow.image_id)
        .where(LabelRow.deleted_at.is_(None), ImageRow.missing_since.is_(None))
        .group_by(LabelRow.tag)
    )
    label_tags = dict(session.execute(by_tag).all())
    return DatastoreStats(session.scalar(present) or 0, label_tags.get(FINAL_TAG, 0), label_tags)


def overview(session: Session) -> Iterator[Json]:
    """Yield what ``datastore_v2.json`` of MONAI Label lists as ``objects``, some images at a time.

    A pool may have a hundred thousand images, each with a kilobyte of dictionaries.

    Yields:
        Entries by image id; the oldest images come first.
    """
    wanted = select(ImageRow.id).where(ImageRow.missing_since.is_(None))
    image_ids = session.scalars(wanted.order_by(ImageRow.registered_at, ImageRow.id)).all()
    for first in range(0, len(image_ids), _AT_ONCE):
        yield _entries(session, image_ids[first : first + _AT_ONCE])


def _entries(session: Session, image_ids: Sequence[str]) -> Json:
    entries: Json = {}
    for image_id, name, info, registered_at in _image_facts(session, image_ids):
        facts = _image_info(info, name, registered_at)
        ext = name.removeprefix(image_id)
        entries[image_id] = {"image": {"ext": ext, "info": facts}, "labels": {}}
    for image_id, strategy, client_id, served_at in _served(session, image_ids):
        served = entries[image_id]["image"]["info"].setdefault("strategy", {})
        served[strategy] = {"ts": int(served_at), "client_id": client_id}
    for image_id, tag, info in _current_labels(session, image_ids):
        entries[image_id]["labels"][tag] = {"ext": CANONICAL_EXTENSION, "info": info}
    return entries


def image_info(row: ImageRow) -> Json:
    """Return what clients are told about an image, in MONAI Label's words."""
    study: Json = {
        "Modality": row.modality,
        "PatientID": row.patient_id,
        "StudyDate": row.study_date,
        "StudyTime": row.study_time,
        "StudyInstanceUID": row.study_uid,
        "SeriesInstanceUID": row.series_uid,
    }
    known = {key: value for key, value in study.items() if value}
    return {**_image_info(row.info, row.name, row.registered_at), **known}


def labeled_images(session: Session, limit: int | None = None) -> list[LabeledImage]:
    """Return the images with a final label, each with its newest version, by age of the image."""
    newest = _newest().where(LabelRow.tag == FINAL_TAG).subquery()
    wanted = (
        select(ImageRow, LabelRow)
        .join(LabelRow, LabelRow.image_id == ImageRow.id)
        .join(newest, newest.c.id == LabelRow.id)
        .where(ImageRow.missing_since.is_(None))
        .order_by(ImageRow.registered_at, ImageRow.id)
        .limit(limit)
    )
    return [LabeledImage(image, label) for image, label in session.execute(wanted)]


def train_list(session: Session) -> list[dict[str, str]]:
    """Return the pairs of image and final label, by the names they have in ``dataset_zip``."""
    return [_names(pair) for pair in labeled_images(session)]


def dataset_zip(
    session: Session, files: FileStore, settings: Settings, path: Path, limit: int | None = None
) -> None:
    """Write a zip file of the images with a final label, their labels and ``metadata.json``.

    Args:
        session: Open transaction; reading is enough.
        files: Where the labels are.
        settings: Settings of the deployment.
        path: File to write.
        limit: Most images; None: all.

    Raises:
        NotFoundError: If no image has a final label.
    """
    pairs = labeled_images(session, limit)
    if not pairs:
        raise NotFoundError("no image has a final label yet")
    # Stored, not deflated: almost everything in it is compressed already.
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for pair in pairs:
            names = _names(pair)
            archive.write(images.image_file(settings, files, pair.image), names["image"])
            archive.write(labels.label_file(files, pair.label), names["label"])
        archive.writestr("metadata.json", json.dumps(_metadata(pairs), indent=2))


def _image_facts(
    session: Session, image_ids: Sequence[str]
) -> Iterable[tuple[str, str, Json, float]]:
    wanted = select(ImageRow.id, ImageRow.name, ImageRow.info, ImageRow.registered_at)
    asked = wanted.where(ImageRow.id.in_(image_ids))
    return session.execute(asked.order_by(ImageRow.registered_at, ImageRow.id))


def _image_info(info: Json, name: str, registered_at: float) -> Json:
    # A viewer keeps the image under ``name``: it must be ours, which is safe and unique.
    original = {"original_name": info["name"]} if "name" in info else {}
    return {**info, **original, "ts": int(registered_at), "name": name}


def _served(session: Session, image_ids: Sequence[str]) -> Iterable[tuple[str, str, str, float]]:
    newest = select(func.max(LeaseRow.id)).where(LeaseRow.image_id.in_(image_ids))
    ids = newest.group_by(LeaseRow.image_id, LeaseRow.strategy)
    wanted = select(LeaseRow.image_id, LeaseRow.strategy, LeaseRow.client_id, LeaseRow.served_at)
    return session.execute(wanted.where(LeaseRow.id.in_(ids)))


def _current_labels(session: Session, image_ids: Sequence[str]) -> Iterable[tuple[str, str, Json]]:
    newest = _newest().where(LabelRow.image_id.in_(image_ids))
    wanted = select(LabelRow.image_id, LabelRow.tag, LabelRow.info, LabelRow.annotation_seconds)
    for image_id, tag, info, seconds in session.execute(wanted.where(LabelRow.id.in_(newest))):
        timed = {} if seconds is None else {"annotation_seconds": round(seconds, 1)}
        yield image_id, tag, {**info, **timed}


def _newest() -> Select[int | None]:
    """Select the newest version of every label; versions of a label have rising ids."""
    shown = select(func.max(LabelRow.id).label("id")).where(LabelRow.deleted_at.is_(None))
    return shown.group_by(LabelRow.image_id, LabelRow.tag)


def _names(pair: LabeledImage) -> dict[str, str]:
    label = f"{pair.image.id}{CANONICAL_EXTENSION}"
    return {"image": f"image/{pair.image.name}", "label": f"label/{label}"}


def _metadata(pairs: Sequence[LabeledImage]) -> Json:
    entries = [
        {
            **_names(pair),
            "id": pair.image.id,
            "version": pair.label.version,
            "covers_calcium": pair.label.covers_calcium,
            "covers_regions": pair.label.covers_regions,
            "info": pair.label.info,
        }
        for pair in pairs
    ]
    return {"name": "caclabel", "labels": LABELS, "data": entries}
