"""Text headers of NRRD and MetaImage, and the compressed voxels behind them.

SimpleITK takes 1 mm for a spacing that is not there, and returns whatever a damaged stream
holds; what it passes over is read and refused here.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from isal import isal_zlib

from app.errors import ImagingError

_MAX_HEADER_BYTES: Final = 2**20
"""Longest header searched for its end."""

_NRRD_SUFFIXES: Final = (".nrrd", ".nhdr")
"""Endings of NRRD; all others here are MetaImage."""

_DETACHED_SUFFIXES: Final = (".nhdr", ".mhd")
"""Endings of headers whose voxels are in another file."""

_EMPTY_LINE: Final = re.compile(rb"\r?\n\r?\n")
"""End of a NRRD header."""

_NRRD_FIELD: Final = re.compile(r"([^:#][^:]*):(?!=)\s*(.*?)\s*")
"""One field of a NRRD header; ``key:=value`` is free text."""

_META_FIELD: Final = re.compile(r"[ \t]*(\w+)[ \t]*[:=]\s*(.*?)\s*")
"""One field of a MetaImage header."""

_ENCODINGS: Final = ("raw", "gzip", "gz", "txt", "text", "ascii", "hex")
"""Encodings of NRRD that are read; what bzip2 unpacks to is not known before it is there."""

_MAX_DIMENSIONS: Final = 10
"""Most axes for which the reader of MetaImage has room."""

_VECTOR: Final = re.compile(r"none|\([^()]*\)", re.I)
"""Direction of one axis in a NRRD header."""

_SPACE_DIMENSIONS: Final = 3
"""Axes of the patient."""

_META_GEOMETRY: Final = (
    (("ElementSpacing",), 1),
    (("Offset", "Position", "Origin"), 1),
    (("TransformMatrix", "Rotation", "Orientation"), 2),
)
"""Names of what places the voxels of a MetaImage, and the power of NDims it has numbers."""

_GZIP_WINDOW: Final = 31
"""zlib's number for a gzip stream, with its checksum."""

_ANY_WINDOW: Final = 47
"""zlib's number for a zlib or gzip stream, with its checksum; MetaImage may hold both."""


@dataclass(frozen=True)
class TextHeader:
    """The header of a NRRD or MetaImage file as it stands there.

    Attributes:
        path: The file.
        fields: Value by name; names of NRRD fields in lower case without spaces.
        voxel_path: File with the voxels; the same one, or a neighbour.
        offset: Bytes before the voxels in that file.
    """

    path: Path
    fields: Mapping[str, str]
    voxel_path: Path
    offset: int

    @property
    def is_nrrd(self) -> bool:
        """Whether it is the header of a NRRD file."""
        return _is_nrrd(self.path)


def is_detached(path: Path) -> bool:
    """Tell by its name whether a file is a header whose voxels are in another file."""
    return path.name.lower().endswith(_DETACHED_SUFFIXES)


def read_text_header(path: Path) -> TextHeader:
    """Read the header of a NRRD or MetaImage file.

    Raises:
        ImagingError: If it does not end, names a field twice, or names a file elsewhere as
            its voxels.
        OSError: If the file cannot be read.
    """
    with path.open("rb") as stream:
        block = stream.read(_MAX_HEADER_BYTES)
    length = _header_length(path, block)
    fields: dict[str, str] = {}
    for name, value in _fields(path, block[:length]):
        if name in fields:
            raise ImagingError(f"the header names {name[:40]!r} twice")
        fields[name] = value
    name = fields.get("datafile" if _is_nrrd(path) else "ElementDataFile", "LOCAL")
    if name == "LOCAL":
        return TextHeader(path, fields, path, length)
    return TextHeader(path, fields, _neighbour(path, name), 0)


def check_geometry(header: TextHeader) -> None:
    """Refuse a header that does not say where its voxels lie.

    Raises:
        ImagingError: If spacing, directions or position are missing or incomplete.
    """
    if header.is_nrrd:
        directions = [_numbers(vector) for vector in _nrrd_vectors(header)]
        is_complete = [len(vector) for vector in directions if vector] == [_SPACE_DIMENSIONS] * 3
        if not is_complete:
            raise _missing("space directions")
        if len(_numbers(header.fields.get("spaceorigin", ""))) != _SPACE_DIMENSIONS:
            raise _missing("space origin")
        return
    (dimensions,) = _numbers(header.fields.get("NDims", "")) or (0.0,)
    for names, power in _META_GEOMETRY:
        value = next((header.fields[name] for name in names if name in header.fields), "")
        if not dimensions or len(_numbers(value)) != dimensions**power:
            raise _missing(names[0])


def check_encoding(header: TextHeader) -> None:
    """Refuse what a library must not be given: it would fill the memory or write beyond it.

    Raises:
        ImagingError: If the header names another encoding than those read here, or more axes
            than there can be.
    """
    if header.is_nrrd:
        encoding = header.fields.get("encoding", "").lower()
        if encoding not in _ENCODINGS:
            raise ImagingError(f"expected raw or gzip as encoding, got {encoding[:20]!r}")
        return
    axes = header.fields.get("NDims", "")
    if not axes.isascii() or not axes.isdigit() or not 0 < int(axes[:9]) <= _MAX_DIMENSIONS:
        raise ImagingError(f"expected 1 to {_MAX_DIMENSIONS} axes as NDims, got {axes[:20]!r}")


def is_packed(header: TextHeader) -> bool:
    """Tell whether the voxels are compressed.

    Raises:
        ImagingError: If the header contradicts itself.
    """
    if header.is_nrrd:
        return header.fields.get("encoding", "").lower() in ("gzip", "gz")
    if not _truth(header, "BinaryData"):
        raise ImagingError("expected binary voxels, got text")
    packed = _truth(header, "CompressedData")
    if not packed and "CompressedDataSize" in header.fields:
        raise ImagingError("the header gives a compressed size of voxels that are not compressed")
    return packed


def is_big_endian(header: TextHeader) -> bool:
    """Tell the byte order of voxels of several bytes.

    Raises:
        ImagingError: If the header does not say it.
    """
    if header.is_nrrd:
        order = header.fields.get("endian", "").lower()
        if order not in ("little", "big"):
            raise _missing("endian")
        return order == "big"
    names = [n for n in ("BinaryDataByteOrderMSB", "ElementByteOrderMSB") if n in header.fields]
    if not names:
        raise _missing("BinaryDataByteOrderMSB")
    return _truth(header, names[0])


def has_layers_first(header: TextHeader) -> bool:
    """Tell whether the values of one voxel lie side by side."""
    return not header.is_nrrd or _nrrd_vectors(header)[0].lower() == "none"


def check_length(header: TextHeader, byte_count: int) -> None:
    """Refuse uncompressed voxels that are more or fewer than the header says.

    Raises:
        ImagingError: If they are.
    """
    is_raw = not header.is_nrrd or header.fields.get("encoding", "").lower() == "raw"
    if not is_raw or _skips(header):
        return
    found = header.voxel_path.stat().st_size - header.offset
    if found != byte_count:
        raise ImagingError(f"expected {byte_count} bytes of voxels, got {found}")


def unpack(header: TextHeader, byte_count: int) -> bytes:
    """Decompress the voxels, and check them against checksum and length.

    Raises:
        ImagingError: If the stream is damaged, or holds more or fewer bytes than
            ``byte_count``.
    """
    if _skips(header):
        raise ImagingError("expected compressed voxels without bytes to be skipped before them")
    with header.voxel_path.open("rb") as stream:
        stream.seek(header.offset)
        packed = stream.read()
    stated = header.fields.get("CompressedDataSize")
    if stated is not None and stated != str(len(packed)):
        raise ImagingError(f"expected {stated[:20]} compressed bytes, got {len(packed)}")
    parts: list[bytes] = []
    wanted = byte_count
    # A gzip file may be several streams in a row.
    while packed and wanted >= 0:
        inflater = isal_zlib.decompressobj(_GZIP_WINDOW if header.is_nrrd else _ANY_WINDOW)
        # One byte more than wanted, so that a stream that is too long shows.
        parts.append(inflater.decompress(packed, wanted + 1))
        wanted -= len(parts[-1])
        if not inflater.eof:
            break
        packed = inflater.unused_data
    else:
        if wanted == 0:
            return parts[0] if len(parts) == 1 else b"".join(parts)
    raise ImagingError(
        f"expected {byte_count} bytes of voxels, the compressed file holds more or ends early"
    )


def _is_nrrd(path: Path) -> bool:
    return path.suffix.lower() in _NRRD_SUFFIXES


def _header_length(path: Path, block: bytes) -> int:
    """Return the number of bytes before the first voxel that follows the header."""
    if _is_nrrd(path):
        end = _EMPTY_LINE.search(block)
        if end is None and len(block) == _MAX_HEADER_BYTES:
            raise ImagingError("the header is too long")
        return len(block) if end is None else end.end()
    end = re.search(rb"^[ \t]*ElementDataFile[ \t]*[:=].*?(\n|\Z)", block, re.M | re.I)
    if end is None:
        raise ImagingError("the header is too long or does not say where the voxels are")
    return end.end()


def _fields(path: Path, block: bytes) -> Iterator[tuple[str, str]]:
    # Not splitlines(), to which more characters than the line feed end a line.
    for line in block.decode("latin-1").split("\n"):
        match = (_NRRD_FIELD if _is_nrrd(path) else _META_FIELD).fullmatch(line)
        if match and _is_nrrd(path):
            yield match[1].replace(" ", "").lower(), match[2]
        elif match:
            yield match[1], match[2]


def _neighbour(path: Path, name: str) -> Path:
    """Return the file with the voxels, refusing one outside the folder of its header."""
    # The header was decoded byte by byte.
    known = name.encode("latin-1").decode("utf-8", "replace")
    if not is_detached(path) or known != Path(known).name or not (path.parent / known).is_file():
        raise ImagingError("expected the voxels in the same folder as their header")
    return path.parent / known


def _nrrd_vectors(header: TextHeader) -> list[str]:
    return _VECTOR.findall(header.fields.get("spacedirections", "")) or [""]


def _numbers(text: str) -> tuple[float, ...]:
    """Return the finite numbers of a text, none at all if one of them is no such number."""
    try:
        numbers = tuple(float(part) for part in re.split(r"[\s,]+", text.strip("() \t")))
    except ValueError:
        return ()
    return numbers if all(map(math.isfinite, numbers)) else ()


def _missing(name: str) -> ImagingError:
    return ImagingError(f"expected {name} in the header, it is missing or incomplete")


def _truth(header: TextHeader, name: str) -> bool:
    value = header.fields.get(name, "False").lower()
    if value not in ("true", "false"):
        raise ImagingError(f"expected True or False as {name}, got {value[:20]!r}")
    return value == "true"


def _skips(header: TextHeader) -> bool:
    names = ("byteskip", "lineskip") if header.is_nrrd else ("HeaderSize",)
    return any(header.fields.get(name, "0") != "0" for name in names)
