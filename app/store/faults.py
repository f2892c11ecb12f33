"""What disks and databases say when they take nothing, in sentences that a person can act on."""

import errno
import sqlite3
from collections.abc import Iterator, Mapping
from typing import Final

from sqlalchemy.exc import DBAPIError, OperationalError

from app.errors import StorageError, StorageFullError

_FULL: Final = (
    "the disk of the data folder is full; nothing was stored, free some room and send it again"
)

_READ_ONLY: Final = (
    "the data folder cannot be written; nothing was stored, look at its rights and at its disk"
)

_FAILING: Final = "the disk of the data folder fails; nothing was stored, look at the disk"

LOCKED: Final = "another program holds the database; nothing was stored, send it again later"
"""What a writer is told whose turn did not come."""

_DAMAGED: Final = (
    "the database is damaged; stop the server and restore the data folder from a backup"
)

_UNREACHABLE: Final = "the database cannot be reached; nothing was stored, send it again later"

_BY_ERRNO: Final[Mapping[int, str]] = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: _FULL,
    errno.EROFS: _READ_ONLY,
    errno.EACCES: _READ_ONLY,
    errno.EPERM: _READ_ONLY,
    errno.EIO: _FAILING,
}

_BY_SQLITE_CODE: Final[Mapping[int, str]] = {
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_READONLY: _READ_ONLY,
    sqlite3.SQLITE_CANTOPEN: _READ_ONLY,
    sqlite3.SQLITE_PERM: _READ_ONLY,
    sqlite3.SQLITE_IOERR: _FAILING,
    sqlite3.SQLITE_BUSY: LOCKED,
    sqlite3.SQLITE_LOCKED: LOCKED,
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_NOTADB: _DAMAGED,
}

_PRIMARY_CODE: Final = 0xFF
"""The low byte of SQLite's result codes is the primary one."""


def storage_error(error: BaseException | None) -> StorageError | None:
    """Return what an error, or one behind it, says about disk or database.

    Args:
        error: An error that nobody foresaw, or None.

    Returns:
        The error to tell instead; None if it is about something else.
    """
    for one in _chain(error):
        sentence = _sentence(one)
        if sentence is not None:
            return StorageFullError(sentence) if sentence == _FULL else StorageError(sentence)
    return None


def fault_code(error: BaseException) -> str:
    """Return what the system calls a fault, such as ENOSPC or SQLITE_BUSY; empty if nothing."""
    for one in _chain(error):
        if isinstance(one, OSError) and one.errno is not None:
            return errno.errorcode.get(one.errno, "")
        original = one.orig if isinstance(one, DBAPIError) else one
        if isinstance(original, sqlite3.Error):
            return str(getattr(original, "sqlite_errorname", ""))
    return ""


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _sentence(error: BaseException) -> str | None:
    if isinstance(error, OSError) and error.errno is not None:
        return _BY_ERRNO.get(error.errno)
    original = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(original, sqlite3.Error):
        # Errors of the driver itself have no code.
        code = getattr(original, "sqlite_errorcode", None)
        return _BY_SQLITE_CODE.get(code & _PRIMARY_CODE) if code is not None else None
    is_of_a_server = isinstance(error, OperationalError) and error.connection_invalidated
    return _UNREACHABLE if is_of_a_server else None
