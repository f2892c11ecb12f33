"""Zip files of strangers: what is in them is known before anything of it is unpacked.

Names, sizes and kinds of the entries are claims. The sizes bound what is written, names are
never used as paths, and a link is a file with a path in it, which is no image.
"""

import errno
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Final

from app.errors import ImagingError
from app.imaging.parsing import PARSER_ERRORS

_MAX_TABLE_BYTES: Final = 4 << 20
"""Longest table of contents: 10 000 entries of 400 bytes. The library reads it in one piece."""

_METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Compressions that are unpacked; of others, four kilobytes become gigabytes at once."""

_DAMAGES: Final[tuple[type[Exception], ...]] = (*PARSER_ERRORS, zipfile.BadZipFile)
"""Raised for damaged archives, encrypted ones and names that are no text."""

_OF_DISK: Final = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO)
"""What is wrong with our disk and not with the archive."""


class Archive:
    """An open zip file whose table of contents was checked."""

    def __init__(self, packed: zipfile.ZipFile, members: list[zipfile.ZipInfo]) -> None:
        """Hold the files of ``packed``."""
        self._packed = packed
        self._members = members

    @property
    def names(self) -> list[str]:
        """Names of the files as the archive has them; never to be used as paths."""
        return [member.filename for member in self._members]

    @property
    def size(self) -> int:
        """Bytes of all files when unpacked."""
        return sum(member.file_size for member in self._members)

    def extract(self, number: int, target: Path) -> None:
        """Unpack a file, no more of it than its size in the table."""
        with self._packed.open(self._members[number]) as source, target.open("wb") as file:
            shutil.copyfileobj(source, file)


class _Bounded(BufferedReader):
    """A file of which nobody reads more at once than a table of contents may have."""

    def read(self, size: int | None = -1, /) -> bytes:
        wanted = _MAX_TABLE_BYTES + 1 if size is None or size < 0 else size
        data = super().read(min(wanted, _MAX_TABLE_BYTES + 1))
        if len(data) > _MAX_TABLE_BYTES:
            raise ImagingError("the archive has too many entries")
        return data


def is_archive_file(path: Path) -> bool:
    """Tell whether a file is a zip file."""
    return zipfile.is_zipfile(path)


@contextmanager
def open_archive(path: Path, *, max_files: int, max_bytes: int) -> Iterator[Archive]:
    """Open a zip file; errors of unpacking within the block are those of the archive.

    Args:
        path: The file.
        max_files: Most files in it; folders do not count.
        max_bytes: Most bytes that they have unpacked.

    Raises:
        ImagingError: If it is damaged, encrypted, holds too much, or is compressed in a way
            that is not read here.
        OSError: If our disk takes nothing.
    """
    try:
        with _Bounded(path.open("rb", buffering=0)) as file, zipfile.ZipFile(file) as packed:
            yield Archive(packed, _members(packed, max_files, max_bytes))
    except _DAMAGES as error:
        if isinstance(error, OSError) and error.errno in _OF_DISK:
            raise
        raise ImagingError("the archive cannot be unpacked") from None


def _members(packed: zipfile.ZipFile, max_files: int, max_bytes: int) -> list[zipfile.ZipInfo]:
    members = [member for member in packed.infolist() if not member.is_dir()]
    size = sum(member.file_size for member in members)
    if len(members) > max_files or size > max_bytes:
        raise ImagingError(f"expected at most {max_files} files of {max_bytes} bytes in all")
    if any(member.compress_type not in _METHODS for member in members):
        raise ImagingError("expected an archive whose files are stored or deflated")
    return members
