"""Labels of an existing MONAI Label studies folder, imported once and never written to.

The folder is read as it is: an index that is missing, empty or wrong costs only what it
said, a label that does not fit its image is reported, and nothing stops the rest.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.errors import InvalidInputError, LabelError
from app.intake.client_info import with_readable_review
from app.intake.identifiers import (
    IMAGE_EXTENSIONS,
    LABEL_EXTENSIONS,
    check_name,
    printable,
    split_extension,
)
from app.intake.submission import Submission, keep, prepare
from app.settings import Settings
from app.store.database import Database
from app.store.files import FileStore
from app.store.tables import ImageRow, Json, LabelRow, QuarantineRow

UNKNOWN_ANNOTATOR: Final = "unknown"
"""Who made a label of people that does not say who."""

PREDICTION_TAG: Final = "original"
"""Tag of predictions in a MONAI Label folder."""

logger = logging.getLogger(__name__)

INDEX_NAME: Final = "datastore_v2.json"
"""Index of a MONAI Label studies folder."""

LABELS_FOLDER: Final = "labels"
"""Folder with one folder of label files for each tag."""

_MAX_INDEX_BYTES = 512 * 1024 * 1024
"""Largest index that is read."""


@dataclass
class ImportReport:
    """What an import did.

    Attributes:
        imported: Labels that are new.
        problems: Paths, relative to the studies folder, of what could not be used.
    """

    imported: int = 0
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class FoundLabel:
    """One label file.

    Attributes:
        path: The file.
        stem: Its name without ending, which is that of its image.
        tag: Tag, the name of its folder.
        info: What the index says about it.
    """

    path: Path
    stem: str
    tag: str
    info: Json


def import_labels(
    database: Database,
    files: FileStore,
    settings: Settings,
    root: Path,
    *,
    now: Callable[[], float],
) -> ImportReport:
    """Import the labels below ``root/labels``, each in a short transaction of its own.

    A label is imported when its image has no version with that tag yet, deleted ones
    included; so a second import changes nothing, and no submission is ever covered.
    """
    report = ImportReport()
    if not (root / LABELS_FOLDER).is_dir():
        return report
    index = read_index(root)
    if index is None:
        _report(database, report, root / INDEX_NAME, root, "the index cannot be read", now())
    images = _images(database)
    known = _known_labels(database)
    for found in label_files(root, index or {}):
        image_id = images.get(found.stem)
        if image_id is None:
            _report(database, report, found.path, root, "the label has no image", now())
        elif (image_id, found.tag) not in known:
            try:
                report.imported += import_label(
                    database, files, settings, image_id, found, now=now()
                )
            except InvalidInputError as error:
                _report(database, report, found.path, root, str(error), now())
    if report.imported:
        logger.info("imported %d labels of a MONAI Label folder", report.imported)
    return report


def read_index(root: Path) -> Mapping[str, Json] | None:
    """Return what the index says of each image: nothing when there is none, None when broken."""
    path = root / INDEX_NAME
    if not path.exists():
        return {}
    try:
        if path.stat().st_size > _MAX_INDEX_BYTES:
            return None
        objects = json.loads(path.read_bytes())["objects"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return objects if isinstance(objects, dict) else None


def label_files(root: Path, index: Mapping[str, Json]) -> Iterator[FoundLabel]:
    """Yield the label files below ``root/labels``, a folder for each tag."""
    for folder in sorted((root / LABELS_FOLDER).iterdir()):
        if not folder.is_dir() or folder.name.startswith("."):
            continue
        for path in sorted(folder.iterdir()):
            stem, extension = split_extension(path.name, LABEL_EXTENSIONS)
            if extension and path.is_file() and not path.name.startswith("."):
                yield FoundLabel(path, stem, folder.name, _label_info(index, stem, folder.name))


def _label_info(index: Mapping[str, Json], stem: str, tag: str) -> Json:
    """Look up the info of a label; whatever is not as it should be counts as nothing said."""
    place: object = index
    for key in (stem, "labels", tag, "info"):
        place = place.get(key) if isinstance(place, dict) else None
    return dict(place) if isinstance(place, dict) else {}


def _images(database: Database) -> dict[str, str]:
    """Map the stems of the image files directly in the studies folder to image ids."""
    wanted = select(ImageRow.path, ImageRow.id).where(
        ImageRow.source == "studies", ImageRow.missing_since.is_(None)
    )
    with database.reading() as session:
        return {
            split_extension(path, IMAGE_EXTENSIONS)[0]: image_id
            for path, image_id in session.execute(wanted)
            if "/" not in path
        }


def _known_labels(database: Database) -> set[tuple[str, str]]:
    with database.reading() as session:
        wanted = select(LabelRow.image_id, LabelRow.tag).distinct()
        return set(session.execute(wanted))


def import_label(
    database: Database,
    files: FileStore,
    settings: Settings,
    image_id: str,
    found: FoundLabel,
    *,
    now: float,
) -> bool:
    """Import a label unless its image has, or had, one with this tag.

    Returns:
        Whether it was imported.

    Raises:
        InvalidInputError: If the label does not fit its image, or its tag is not allowed.
    """
    tag = check_name(found.tag, "tag")
    with database.reading() as session:
        if _has_label(session, image_id, tag):
            return False
    label = _submission(found, image_id, tag)
    ready = prepare(database, files, settings, label)
    with database.writing() as session:
        if _has_label(session, image_id, tag):
            return False
        keep(session, files, settings, label, ready, now=now)
    return True


def _nobody(tag: str) -> str:
    """Return who made a label that does not say: a person, unless it is a prediction."""
    return "" if tag == PREDICTION_TAG else UNKNOWN_ANNOTATOR


def _submission(found: FoundLabel, image_id: str, tag: str) -> Submission:
    try:
        content = found.path.read_bytes()
    except OSError:
        raise LabelError("the label file cannot be opened") from None
    info = with_readable_review(dict(found.info), found.tag)
    params = info.get("params")
    if isinstance(params, dict) and "label_names" in params:
        info.setdefault("label_names", params["label_names"])
    return Submission(
        image_id=image_id,
        content=content,
        file_name=found.path.name,
        params=info,
        annotator=str(found.info.get("client_id") or _nobody(tag)),
        tag=tag,
        # Other programs number in their own ways: bare values are not the canonical ones.
        needs_names=True,
    )


def _has_label(session: Session, image_id: str, tag: str) -> bool:
    wanted = select(LabelRow.id).where(LabelRow.image_id == image_id, LabelRow.tag == tag)
    return session.scalars(wanted.limit(1)).first() is not None


def _report(
    database: Database, report: ImportReport, path: Path, root: Path, problem: str, now: float
) -> None:
    name = printable(path.relative_to(root).as_posix())
    report.problems.append(name)
    status = path.stat() if path.exists() else None
    facts = f"{name}\0{status.st_size if status else 0}\0{status.st_mtime_ns if status else 0}"
    signature = hashlib.sha256(facts.encode("utf-8", "surrogateescape")).hexdigest()
    row = QuarantineRow(path=name, signature=signature, problem=problem, seen_at=now)
    with database.writing() as session:
        session.merge(row)
