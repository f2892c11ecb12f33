"""A copy of a data folder that can be taken while a server runs, and put back.

Files are written once and never changed, and a row is written after the files it names. So the
copy begins with the database as it is at one moment, by SQLite's own backup, and goes on with
the files that its rows name: they all are there, whatever comes meanwhile. The job engine's
database, the caches and unfinished trainings are left out: open jobs are begun anew.

A backup lies in a folder like a data folder, with a manifest that is written last.
"""

import json
import os
import shutil
import sqlite3
from contextlib import closing
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

from app.errors import ConflictError, InvalidInputError
from app.integrity.findings import Report, Told
from app.integrity.opening import check_revision, database_file, looking, open_file
from app.integrity.references import references
from app.settings import Settings
from app.store.files import copy_durably, file_sha256, make_private, write_durably

MANIFEST: Final = "manifest.json"

DATABASE: Final = "caclabel.sqlite"

FORMAT: Final = "caclabel-backup-1"
"""Name and version of the layout of a backup."""

_MEGABYTE: Final = 1 << 20


@dataclass(frozen=True)
class Manifest:
    """What a backup holds.

    Attributes:
        format: Name and version of the layout.
        code_version: Version of caclabel that took it.
        taken_at: When the database was copied, in seconds since the epoch.
        files: SHA-256 of every file by its path, the database included.
        damaged: Files that rows name and that could not be copied.
    """

    format: str
    code_version: str
    taken_at: float
    files: dict[str, str]
    damaged: list[str]


def back_up(settings: Settings, target: Path, *, now: float, told: Told = lambda _: None) -> Report:
    """Copy the database and every file that its rows name.

    Args:
        settings: Settings of the deployment.
        target: Folder to write; empty, or not there yet.
        now: Current time.
        told: Is told how far it is.

    Returns:
        What was copied; what is damaged already cannot be, and is named.

    Raises:
        ConflictError: If the folder holds anything, there is no room, or the schema is another
            version's.
        InvalidInputError: If the database is not an embedded one, or the folder lies in the data
            folder.
        NotFoundError: If there is no database.
    """
    check_embedded(settings)
    if target.resolve().is_relative_to(settings.data.resolve()):
        raise InvalidInputError(
            "the backup would lie in the data folder and be lost with it; name a folder elsewhere,"
            " on another disk"
        )
    source = database_file(settings)
    with looking(settings) as session:
        check_revision(session)
    claim_folder(target)
    told("the database")
    _copy_database(source, target / DATABASE)
    with looking(settings.model_copy(update={"data": target})) as session:
        named = {one.path: one.owner for one in references(session)}
    _check_room(settings.data, named, target)
    report, digests = Report(), {DATABASE: file_sha256(target / DATABASE)}
    for number, (path, owner) in enumerate(named.items(), start=1):
        told(f"{number} of {len(named)} files")
        _copy(settings.data, target, path, owner, digests, report)
    damaged = sorted(named.keys() - digests.keys())
    manifest = Manifest(FORMAT, version("caclabel"), now, digests, damaged)
    write_durably(target / MANIFEST, json.dumps(asdict(manifest), indent=1).encode())
    return report


def check_embedded(settings: Settings) -> None:
    """Refuse a database that has a way of its own to be backed up.

    Raises:
        InvalidInputError: With that way.
    """
    if settings.database_url:
        raise InvalidInputError(
            "the database is not in the data folder: copy it with pg_dump first, then the folders"
            " files and models of the data folder; files are never changed, so this order is safe"
        )


def claim_folder(folder: Path) -> None:
    """Make sure that a folder is there and empty; one that is made is its maker's alone.

    Raises:
        ConflictError: If it holds anything.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConflictError(f"{folder} is not empty; choose a new folder")
    make_private(folder)


def _copy_database(source: Path, target: Path) -> None:
    with closing(open_file(source)) as original, closing(sqlite3.connect(target)) as copy:
        original.backup(copy)
        # One file, without a log beside it, that can be read from a disk that takes no writing.
        copy.execute("PRAGMA journal_mode=DELETE")
    with target.open("rb") as file:
        os.fsync(file.fileno())


def _check_room(data: Path, named: dict[str, str], target: Path) -> None:
    needed = sum((data / path).stat().st_size for path in named if (data / path).is_file())
    free = shutil.disk_usage(target).free
    if needed > free:
        raise ConflictError(
            f"the backup needs {needed // _MEGABYTE} MB, but {free // _MEGABYTE} MB are free there"
        )


def _copy(
    data: Path, target: Path, path: str, owner: str, digests: dict[str, str], report: Report
) -> None:
    """Copy a file, unless its content is not the one it is named by."""
    try:
        digest = copy_durably(data / path, target / path)
    except FileNotFoundError:
        report.damage(f"{path} ({owner})", "it is gone and not in the backup")
        return
    if path.startswith("files/") and not Path(path).name.startswith(digest):
        (target / path).unlink()
        report.damage(f"{path} ({owner})", "its content is another one; it is not in the backup")
        return
    digests[path] = digest
    report.count("files")
