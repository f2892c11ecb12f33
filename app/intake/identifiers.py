"""Names that are safe everywhere: as ids, in paths, in headers and on any client's disk."""

import hashlib
import os
import re
from typing import Final

from app.errors import InvalidInputError

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ -]{0,127}")
"""What an image id or a tag may look like; no path separator, no control character."""

_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]+")
"""Runs of characters that are replaced where a file name becomes an id."""

_HASH_DIGITS: Final = 8
"""Digits of the hash that tells two files apart whose names give one id."""

_UID: Final = re.compile(r"\d+(\.\d+)+")
"""A DICOM UID."""

_LOG_DIGITS: Final = 12
"""Digits of the hash that stands for an id in the log."""

_STEM_LENGTH: Final = 100
"""Characters kept of a name that gets a hash, so that the id stays below 128."""

IMAGE_EXTENSIONS: Final = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
"""Endings that are not part of an image id; ``1.2.840.113.nii.gz`` is image ``1.2.840.113``."""

LABEL_EXTENSIONS: Final = (".seg.nrrd", ".nii.gz", ".nii", ".nrrd", ".mha", ".bin", ".dcm")
"""Endings a submitted label may have; formats with a second file are not among them."""


def is_safe(name: str) -> bool:
    """Tell whether a name may be used as an id."""
    return _NAME.fullmatch(name) is not None


def check_name(name: str, what: str) -> str:
    """Return ``name`` unchanged.

    Raises:
        InvalidInputError: If it is empty, too long, or has other characters than letters,
            digits, dot, underscore, blank and hyphen, or starts with none of the first two.
    """
    if not is_safe(name):
        raise InvalidInputError(
            f"expected as {what} 1 to 128 letters, digits, dots, underscores, blanks or hyphens "
            "that start with a letter or digit"
        )
    return name


def split_extension(name: str, extensions: tuple[str, ...]) -> tuple[str, str]:
    """Split a file name, perhaps with a client's path before it, into stem and known ending.

    Args:
        name: File name as a client sent it; only the part after the last slash counts.
        extensions: Known endings, longer ones before endings they end in.

    Returns:
        Stem, and the ending in lower case, empty when it is not known.
    """
    base = re.split(r"[/\\]", name)[-1]
    for extension in extensions:
        if base.lower().endswith(extension):
            return base[: -len(extension)], extension
    return base, ""


def safe_id(stem: str, origin: str) -> str:
    """Make an id of a file name; an odd one is cleaned and marked by a hash of ``origin``."""
    return stem if is_safe(stem) else distinct_id(stem, origin)


def distinct_id(stem: str, origin: str) -> str:
    """Make an id that only the file at ``origin`` has, and always the same one."""
    cleaned = _UNSAFE.sub("_", stem).strip("._-")[:_STEM_LENGTH] or "image"
    digest = hashlib.sha256(origin.encode("utf-8", "surrogateescape")).hexdigest()
    return f"{cleaned}-{digest[:_HASH_DIGITS]}"


def for_log(image_id: str, text: str) -> str:
    """Return a text for the log, in which an id that may be a person's name is a hash.

    Ids of DICOM series are UIDs and stay; others are file names, and files are called after
    patients. ``printf %s ID | sha256sum`` begins with the digits.
    """
    if _UID.fullmatch(image_id):
        return text
    digest = hashlib.sha256(image_id.encode()).hexdigest()
    return text.replace(image_id, f"#{digest[:_LOG_DIGITS]}")


def printable(path: str) -> str:
    """Escape what is not UTF-8 in a path, so that rows and answers can hold it."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
