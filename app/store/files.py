"""Files that are written once, named by their content and never changed.

A disk may change what it holds: whoever asks for a file gets it with the content it was stored
with, or an error.

Concurrency: any number of threads and processes may write the same content at once;
each writes a temporary file of its own and renames it, so the last one wins with the
same bytes. A file is on disk, its directory entry included, before ``put`` returns.
"""

import hashlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from app.errors import DamagedFileError, LostFileError

_CHUNK_BYTES = 1 << 20


class FileStore:
    """Content-addressed files below one folder."""

    def __init__(self, root: Path) -> None:
        """Use ``root``, which is made when the first file is put."""
        self.root = root

    def put(self, content: bytes, extension: str) -> str:
        """Store ``content`` and return its SHA-256 in hex.

        Storing it again changes nothing, unless it was damaged meanwhile: that mends it.
        """
        digest = content_sha256(content)
        target = self._path(digest, extension)
        if not (target.exists() and file_sha256(target) == digest):
            write_durably(target, content)
        return digest

    def put_file(self, source: Path, extension: str, sha256: str = "") -> str:
        """Move the file ``source`` into the store and return its SHA-256 in hex.

        Whoever has computed it already gives it: reading 2 GiB takes some seconds.
        """
        digest = sha256 or file_sha256(source)
        target = self._path(digest, extension)
        _make_folder(target.parent)
        with source.open("rb") as file:
            os.fsync(file.fileno())
        source.replace(target)
        _sync_folder(target.parent)
        return digest

    def path(self, digest: str, extension: str) -> Path:
        """Return where the file lies, after reading all of it: it is what was stored.

        Raises:
            LostFileError: If the store has no such file.
            DamagedFileError: If its content is not the one it is named by.
        """
        path = self._path(digest, extension)
        try:
            is_whole = file_sha256(path) == digest
        except FileNotFoundError:
            raise LostFileError(path.name) from None
        if not is_whole:
            raise DamagedFileError(path.name)
        return path

    def _path(self, digest: str, extension: str) -> Path:
        return self.root / digest[:2] / f"{digest}{extension}"


def content_sha256(content: bytes) -> str:
    """Return the SHA-256 of some bytes in hex, the name they are stored under."""
    return hashlib.sha256(content).hexdigest()


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def write_durably(target: Path, content: bytes) -> None:
    """Write a file so that a reader sees all of it or nothing, also after a power cut."""
    write_durably_by(target, lambda file: file.write(content))


def write_durably_by(target: Path, write: Callable[[BinaryIO], object]) -> None:
    """Let ``write`` fill a file that a reader sees all of or nothing, also after a power cut."""
    _make_folder(target.parent)
    temporary = target.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(target.parent)


def copy_durably(source: Path, target: Path) -> str:
    """Copy a file and return the SHA-256 of what was copied, in hex.

    Raises:
        FileNotFoundError: If there is no such file.
    """
    digest = hashlib.sha256()

    def copy(file: BinaryIO) -> None:
        with source.open("rb") as original:
            while chunk := original.read(_CHUNK_BYTES):
                digest.update(chunk)
                file.write(chunk)

    write_durably_by(target, copy)
    return digest.hexdigest()


def make_private(folder: Path) -> None:
    """Make a folder of patients' data, which nobody else on this machine may look into.

    One that is there keeps its rights, which somebody chose.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def _make_folder(folder: Path) -> None:
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
