"""Stored files that were found damaged, listed for the people who look after the server.

They stay on the quarantine list until they are found whole again: put back from a backup, or
mended by somebody who sent the same content once more.
"""

import logging
from pathlib import Path
from typing import Final

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.errors import DamagedFileError
from app.integrity.findings import Report
from app.integrity.references import references
from app.integrity.weights import check_card
from app.store.database import Database
from app.store.files import FileStore, file_sha256
from app.store.tables import ImageRow, ModelVersionRow, QuarantineRow

logger = logging.getLogger(__name__)

_PREFIX: Final = "data folder: "
"""No path in a studies folder begins like this."""


def is_stored_file() -> ColumnElement[bool]:
    """Select the entries of the quarantine list that are stored files."""
    return QuarantineRow.path.startswith(_PREFIX)


def damaged_count(session: Session) -> int:
    """Count the stored files that are known to be damaged or lost."""
    count = select(func.count()).select_from(QuarantineRow).where(is_stored_file())
    return session.scalar(count) or 0


def note_damage(database: Database, error: DamagedFileError, *, now: float) -> None:
    """Put a damaged file on the quarantine list; a database that fails does not hide the damage.

    Args:
        database: Where the list is.
        error: What was found.
        now: When.
    """
    logger.error("%s", error)
    path = f"{_PREFIX}{error.file_name}"
    try:
        with database.reading() as session:
            if session.get(QuarantineRow, path) is not None:
                return
            problem = f"{error}; it is {_owner(session, error.file_name)}"
        with database.writing() as session:
            digest = Path(error.file_name).name.partition(".")[0]
            session.merge(QuarantineRow(path=path, signature=digest, problem=problem, seen_at=now))
    except SQLAlchemyError as failure:
        logger.error("the damage could not be noted: %s", type(failure).__name__)  # noqa: TRY400


def note_unreadable(database: Database, image: ImageRow, problem: str, *, now: float) -> None:
    """Put an image of the studies folder that cannot be read on the list until the next scan.

    Args:
        database: Where the list is.
        image: The image.
        problem: What is wrong with it.
        now: When.
    """
    if image.source != "studies":
        return
    told = f"{problem}; it is image {image.id}"
    row = QuarantineRow(path=image.path, signature="", problem=told, seen_at=now)
    with database.writing() as session:
        session.merge(row)


def forget_mended(database: Database, files: FileStore) -> int:
    """Take the files off the list that are whole again; returns how many."""
    with database.reading() as session:
        listed = session.scalars(select(QuarantineRow.path).where(is_stored_file())).all()
        weights = {
            f"models/{job_id}.safetensors": digest
            for job_id, digest in session.execute(
                select(ModelVersionRow.job_id, ModelVersionRow.sha256)
            )
        }
    mended = []
    for path in listed:
        name = path.removeprefix(_PREFIX)
        if name in weights:
            is_mended = _are_whole(files.root.parent / name, weights[name])
        else:
            is_mended = _is_whole(files, name)
        mended += [path] if is_mended else []
    if mended:
        with database.writing() as session:
            for path in mended:
                row = session.get(QuarantineRow, path)
                if row is not None:
                    session.delete(row)
    return len(mended)


def _is_whole(files: FileStore, name: str) -> bool:
    digest, dot, extension = name.partition(".")
    try:
        files.path(digest, f"{dot}{extension}")
    except DamagedFileError:
        return False
    return True


def _are_whole(weights: Path, sha256: str) -> bool:
    """Tell whether the weights of a model version and their card are what was written."""
    report = Report()
    try:
        is_same = file_sha256(weights) == sha256 and weights.with_suffix(".json").is_file()
    except OSError:
        return False
    check_card(weights, sha256, report)
    return is_same and report.is_sound


def _owner(session: Session, file_name: str) -> str:
    """Say which row names a file."""
    for reference in references(session):
        if file_name in (reference.path, Path(reference.path).name):
            return reference.owner
    return "named by no row"
