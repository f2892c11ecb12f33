"""Files that can be made again, kept while there is room for them.

Concurrency: any number of threads and processes. What was used in the last minute is never
removed, so whoever marks an entry as used may read it; everything is moved away before it
is deleted, so nobody meets half of a folder.
"""

import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

_IN_USE_S: Final = 60.0
"""Entries used within this time stay, whatever room they take."""

_FORGOTTEN_S: Final = 3600.0
"""A hidden entry untouched for so long was left behind by a killed process."""


class _Entry(NamedTuple):
    used_at: float
    size_bytes: int
    path: Path


def mark_used(path: Path) -> bool:
    """Note that a file or folder is being used; False when it is not there."""
    try:
        os.utime(path)
    except FileNotFoundError:
        return False
    return True


def keep_within(folders: Sequence[Path], limit_bytes: int, *, now: float) -> int:
    """Remove what was not used for the longest time until the rest fits.

    Args:
        folders: Folders whose entries, files or folders, count and may be removed.
        limit_bytes: Room for all of them together.
        now: Current time.

    Returns:
        Bytes that are left, more than the limit only when too much is in use.
    """
    entries = [entry for folder in folders for entry in _entries(folder, now)]
    total = sum(entry.size_bytes for entry in entries)
    for entry in sorted(entries):
        if total <= limit_bytes:
            break
        if _used_at(entry.path) <= now - _IN_USE_S:
            remove(entry.path)
            total -= entry.size_bytes
    return total


def remove(path: Path) -> None:
    """Remove a file or a folder at once, as far as others can see; nothing if it is gone."""
    hidden = path.with_name(f".{secrets.token_hex(8)}.gone")
    try:
        path.rename(hidden)
    except FileNotFoundError:
        return
    _delete(hidden)


def _entries(folder: Path, now: float) -> Iterator[_Entry]:
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        used_at = _used_at(path)
        if not path.name.startswith("."):
            yield _Entry(used_at, _size(path), path)
        elif used_at < now - _FORGOTTEN_S:
            _delete(path)


def _used_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return float("inf")


def _size(path: Path) -> int:
    try:
        if path.is_dir():
            with os.scandir(path) as entries:
                return sum(entry.stat().st_size for entry in entries)
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
