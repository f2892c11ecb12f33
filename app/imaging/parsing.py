"""What the parsers of hostile bytes can raise, and the names they can be given."""

import os
import struct
import zlib
from pathlib import Path
from typing import Final, cast

from isal.igzip_lib import IsalError
from nibabel.spatialimages import HeaderDataError
from pydicom.errors import BytesLengthException, InvalidDicomError

from app.errors import ImagingError

PARSER_ERRORS: Final[tuple[type[Exception], ...]] = (
    OSError,
    EOFError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
    # Its stubs declare the class as an instance.
    cast(type[Exception], IsalError),
    HeaderDataError,
    InvalidDicomError,
    BytesLengthException,
)
"""Raised by pydicom, nibabel, SimpleITK and the decompressors on damaged files.

The libraries document no closed set: a flipped byte in a DICOM length field shows up as any
of these. Each of them means one thing to us, that the file cannot be read.
"""


def simpleitk_name(path: Path) -> str:
    """Return a file name that SimpleITK can be given; it aborts the process on any other.

    Raises:
        ImagingError: If the name is not UTF-8.
    """
    try:
        return os.fsencode(path).decode()
    except UnicodeDecodeError:
        raise ImagingError("the name of the file is not UTF-8; rename it") from None
