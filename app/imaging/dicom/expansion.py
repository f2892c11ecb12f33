"""What a DICOM file may become in memory, checked before a library makes it so.

A deflated or compressed file of a few kilobytes can claim, or hold, any number of bytes.
"""

import io
import zlib
from pathlib import Path
from typing import BinaryIO, Final

import pydicom
from pydicom.encaps import generate_frames
from pydicom.filereader import _read_file_meta_info, read_preamble

from app.errors import ImagingError
from app.imaging.parsing import PARSER_ERRORS

MAX_SLICE_BYTES: Final = 64 << 20
"""Largest file of one CT slice: four times 2048 x 2048 pixels of 32 bits."""

MAX_INSTANCE_BYTES: Final = 512 << 20
"""Largest inflated instance of any kind, such as a segmentation of many frames."""

_CHUNK_BYTES: Final = 1 << 20

_FRAME_SLACK_BYTES: Final = 1 << 16
"""Headers of a codestream; run lengths and lossless codecs never double what they pack."""

_JPEG_START: Final = b"\xff\xd8"

_JPEG_2000_START: Final = b"\xff\x4f\xff\x51"
"""Start of a codestream of JPEG 2000 and of its size marker, at its start or inside a JP2 file."""

_JPEG_SIZES: Final = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}
"""Markers of JPEG and JPEG-LS that are followed by height and width."""

_JPEG_BARE: Final = frozenset({0x01, *range(0xD0, 0xD8)})
"""Markers without a length."""

_JPEG_ENDS: Final = frozenset({0xD9, 0xDA})
"""Markers after which no size comes any more."""


def check_inflated(stream: BinaryIO, limit: int) -> None:
    """Refuse a deflated DICOM file that would become larger than ``limit`` bytes.

    The stream is at its start before and after.

    Raises:
        ImagingError: If it would, or its stream is damaged.
    """
    try:
        read_preamble(stream, force=True)
        syntax = _read_file_meta_info(stream).get("TransferSyntaxUID")
        if syntax == pydicom.uid.DeflatedExplicitVRLittleEndian and _inflates(stream, limit):
            raise ImagingError(f"expected a DICOM file of at most {limit} bytes when inflated")
    except PARSER_ERRORS:
        # Whoever reads it next says so in the words that fit.
        return
    finally:
        stream.seek(0)


def check_content(content: bytes) -> None:
    """Refuse an instance that would become larger than ``MAX_INSTANCE_BYTES``.

    Raises:
        ImagingError: If it would.
    """
    check_inflated(io.BytesIO(content), MAX_INSTANCE_BYTES)


def check_slice_size(path: Path) -> None:
    """Refuse a file that is too large for one slice.

    Raises:
        ImagingError: If it is.
    """
    size = path.stat().st_size
    if size > MAX_SLICE_BYTES:
        raise ImagingError(f"expected at most {MAX_SLICE_BYTES} bytes in a slice, got {size}")


def check_packed(dataset: pydicom.Dataset) -> None:
    """Refuse compressed pixels that would become more than rows and columns say.

    Raises:
        ImagingError: If a frame is longer than its pixels, or its codestream says another size.
    """
    if not dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        return
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    samples = int(dataset.get("SamplesPerPixel") or 1)
    plain_bytes = rows * columns * samples * -(-int(dataset.BitsAllocated) // 8)
    count = int(dataset.get("NumberOfFrames") or 1)
    for frame in generate_frames(dataset.PixelData, number_of_frames=count):
        if len(frame) > 2 * plain_bytes + _FRAME_SLACK_BYTES:
            raise ImagingError(f"expected pixels of {plain_bytes} bytes, got {len(frame)} packed")
        if codestream_shape(frame) not in (None, (rows, columns)):
            raise ImagingError("the compressed pixels have another size than the header says")


def codestream_shape(frame: bytes) -> tuple[int, int] | None:
    """Return the rows and columns that a codestream says, None where it says none."""
    if frame.startswith(_JPEG_START):
        return _jpeg_shape(frame)
    start = frame.find(_JPEG_2000_START)
    if start < 0 or len(frame) < start + 24:
        return None
    # Marker, length and capabilities are followed by the far corner, then the near one.
    right, bottom, left, top = (
        int.from_bytes(frame[start + at : start + at + 4], "big") for at in (8, 12, 16, 20)
    )
    return bottom - top, right - left


def _jpeg_shape(frame: bytes) -> tuple[int, int] | None:
    at = len(_JPEG_START)
    while at + 9 <= len(frame) and frame[at] == 0xFF:
        marker = frame[at + 1]
        if marker in _JPEG_SIZES:
            return tuple(  # type: ignore[return-value]  # two of them
                int.from_bytes(frame[at + place : at + place + 2], "big") for place in (5, 7)
            )
        if marker in _JPEG_ENDS:
            return None
        if marker == 0xFF:
            at += 1
        elif marker in _JPEG_BARE:
            at += 2
        else:
            at += 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
    return None


def _inflates(stream: BinaryIO, limit: int) -> bool:
    """Tell whether the rest of a stream inflates to more than ``limit`` bytes."""
    inflater, total = zlib.decompressobj(-zlib.MAX_WBITS), 0
    while not inflater.eof and (packed := stream.read(_CHUNK_BYTES)):
        while packed and total <= limit:
            total += len(inflater.decompress(packed, _CHUNK_BYTES))
            packed = inflater.unconsumed_tail
        if total > limit:
            return True
    return False
