"""Reference scores of the non-gated COCA data set: a table without label maps."""

import math
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import openpyxl

from app.errors import ImagingError, InvalidInputError
from app.imaging.archive import open_archive
from app.store.tables import Json

REFERENCE_KEY: Final = "reference_scores"
"""Key of an image's info under which its reference scores are kept."""

_COLUMNS: Final[Mapping[str, str]] = {
    "lca": "LM",
    "lad": "LAD",
    "lcx": "LCX",
    "rca": "RCA",
    "total": "total",
}
"""Columns of the table, and what they are kept as; LCA means the left main there."""

_NAME_COLUMN: Final = "filename"
"""Column of the key; in the file itself it ends in a blank."""

_MAX_PARTS: Final = 100
"""Most files inside of the table; it has about ten."""

_MAX_BYTES: Final = 64 << 20
"""Most bytes that they have unpacked; the table has some ten thousand."""

_MAX_ROWS: Final = 100_000
"""Most rows that are read; the table has 213."""


_DAMAGES: Final = (
    OSError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    SyntaxError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What a damaged file makes the reader raise; errors of XML are syntax errors, unknown
compression and encryption runtime errors."""


def read_reference_scores(path: Path) -> dict[str, Json | None]:
    """Read the Agatston scores by key; None where a row holds no complete set of scores.

    Raises:
        InvalidInputError: If the file is no such table.
    """
    try:
        # The reader unpacks whole parts into memory; opened alone, sizes and kinds are checked.
        with open_archive(path, max_files=_MAX_PARTS, max_bytes=_MAX_BYTES):
            pass
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
        rows = iter(list(book.worksheets[0].iter_rows(values_only=True, max_row=_MAX_ROWS)))
        book.close()
    except (*_DAMAGES, ImagingError) as error:
        raise InvalidInputError(f"{path.name} cannot be read") from error
    return dict(_scores(rows, path.name))


def _scores(
    rows: Iterator[tuple[object, ...]], file_name: str
) -> Iterator[tuple[str, Json | None]]:
    header = [str(cell or "").strip().casefold() for cell in next(rows, ())]
    missing = {_NAME_COLUMN, *_COLUMNS} - set(header)
    if missing:
        raise InvalidInputError(f"{file_name} has no column {sorted(missing)[0]!r}")
    seen: set[str] = set()
    for row in rows:
        key = str(row[header.index(_NAME_COLUMN)] or "").strip()
        if not key:
            continue
        # Of two rows for one scan nobody knows which one counts.
        yield key, None if key in seen else _agatston(header, row)
        seen.add(key)


def _agatston(header: Sequence[str], row: Sequence[object]) -> Json | None:
    values = {name: row[header.index(column)] for column, name in _COLUMNS.items()}
    scores: Json = {
        name: float(value)
        for name, value in values.items()
        if isinstance(value, int | float) and math.isfinite(value) and value >= 0
    }
    return {"source": "COCA", "agatston": scores} if len(scores) == len(values) else None
