"""A whole data folder looked through: database, rows, every file, weights. Nothing is changed.

A server may be running on it: the rows are read as they are at one moment, and files that came
a short while ago may be on their way into a row.
"""

import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from sqlalchemy.exc import DatabaseError
from sqlalchemy.orm import Session

from app.integrity.findings import Report, Told
from app.integrity.opening import check_revision, looking
from app.integrity.pictures import check_images
from app.integrity.references import Reference, references
from app.integrity.rows import check_database, check_rows
from app.integrity.weights import check_card
from app.settings import Settings
from app.store.files import file_sha256

_ON_ITS_WAY_S: Final = 3600.0
"""A file this young may not have got its row yet."""

_PUT_BACK: Final = "put it back from a backup"


def check_folder(settings: Settings, told: Told = lambda _: None) -> Report:
    """Check everything in a data folder, and the images of the studies folder if there is one.

    Args:
        settings: Settings of the deployment.
        told: Is told how far it is.

    Returns:
        What was checked and found.

    Raises:
        NotFoundError: If there is no database.
        ConflictError: If its schema is another version's.
    """
    report = Report()
    try:
        with looking(settings) as session:
            _check(session, settings, report, told)
    except (DatabaseError, sqlite3.DatabaseError) as error:
        cause = error.orig if isinstance(error, DatabaseError) else error
        report.damage("database", f"it cannot be read ({cause}); restore the folder from a backup")
    return report


def _check(session: Session, settings: Settings, report: Report, told: Told) -> None:
    told("the database")
    if not check_database(session, report):
        return
    check_revision(session)
    # Listed before the rows are read: a row is older than what it names is young.
    lying = set(_lying(settings.data))
    named = _named(session)
    check_rows(session, report)
    _check_files(settings.data, named, report, told)
    _check_rest(settings.data, lying - named.keys(), report, told)
    check_images(session, settings, report, told)


def _named(session: Session) -> dict[str, list[Reference]]:
    named: dict[str, list[Reference]] = {}
    for reference in references(session):
        named.setdefault(reference.path, []).append(reference)
    return named


def _check_files(data: Path, named: dict[str, list[Reference]], report: Report, told: Told) -> None:
    for number, (path, owners) in enumerate(named.items(), start=1):
        told(f"{number} of {len(named)} files")
        report.count("files")
        problem = _problem(data / path, {owner.sha256 for owner in owners} - {""})
        if problem:
            report.damage(f"{path} ({_owners(owners)})", problem)
        elif path.endswith(".safetensors"):
            check_card(data / path, owners[0].sha256, report)


def _problem(path: Path, hashes: set[str]) -> str:
    if not path.is_file():
        return f"it is gone; {_PUT_BACK}"
    try:
        found = file_sha256(path)
    except OSError as error:
        return f"it cannot be read ({error.strerror}); look at the disk, and {_PUT_BACK}"
    return "" if hashes <= {found} else f"its content is another one; {_PUT_BACK}"


def _owners(owners: list[Reference]) -> str:
    more = f", and {len(owners) - 1} more" if len(owners) > 1 else ""
    return f"{owners[0].owner}{more}"


def _lying(data: Path) -> Iterator[str]:
    """Yield the files of the file store and of the weights, relative to the data folder."""
    for folder in ("files", "models"):
        for path in sorted((data / folder).rglob("*")):
            if path.is_file():
                yield path.relative_to(data).as_posix()


def _check_rest(data: Path, orphans: set[str], report: Report, told: Told) -> None:
    """Report the files that no row names; they harm nobody."""
    now = time.time()
    for path in sorted(orphans):
        told("files that no row names")
        try:
            age_s = now - (data / path).stat().st_mtime
        except FileNotFoundError:
            continue
        if age_s >= _ON_ITS_WAY_S:
            report.note(path, "no row names it; it may be deleted")
