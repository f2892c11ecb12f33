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
from app.integrity.references import stored_references
from app.store.database import Database
from app.store.files import FileStore
from app.store.tables import QuarantineRow

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
            digest = error.file_name.partition(".")[0]
            session.merge(QuarantineRow(path=path, signature=digest, problem=problem, seen_at=now))
    except SQLAlchemyError as failure:
        logger.error("the damage could not be noted: %s", type(failure).__name__)  # noqa: TRY400


def forget_mended(database: Database, files: FileStore) -> int:
    """Take the files off the list that are whole again; returns how many."""
    with database.reading() as session:
        listed = session.scalars(select(QuarantineRow.path).where(is_stored_file())).all()
    mended = [path for path in listed if _is_whole(files, path.removeprefix(_PREFIX))]
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


def _owner(session: Session, file_name: str) -> str:
    """Say which row names a file."""
    for reference in stored_references(session):
        if Path(reference.path).name == file_name:
            return reference.owner
    return "named by no row"
