"""Which paths below a DICOMweb root exist; everything else a PACS may offer stays out of reach."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from app.errors import NotFoundError

_UID: Final = re.compile(r"[0-9]+(\.[0-9]+)*")

_UID_LENGTH: Final = 64

_LEVELS: Final = ("studies", "series", "instances")

_NUMBER: Final = "[0-9]{1,9}"
"""Number of a frame; Python refuses to read very long numbers."""

_PICTURE: Final = "rendered|thumbnail"

_BULK: Final = r"bulk(data)?(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)+"

_RESTS: Final[Mapping[int, re.Pattern[str]]] = {
    0: re.compile("studies|series|instances"),
    1: re.compile(f"|metadata|{_PICTURE}|series|instances|{_BULK}"),
    2: re.compile(f"|metadata|{_PICTURE}|instances|{_BULK}"),
    3: re.compile(f"|metadata|{_PICTURE}|frames/{_NUMBER}(,{_NUMBER})*(/({_PICTURE}))?|{_BULK}"),
}
"""What may follow by how many UIDs were named."""

_ENCODED: Final = re.compile(rb"%(2e|2f|5c|00)", re.IGNORECASE)
"""Dots, separators and ends of strings that somebody took the trouble to hide."""


@dataclass(frozen=True)
class Resource:
    """What a path names.

    Attributes:
        path: The path, in its one spelling.
        study_uid: StudyInstanceUID, or None.
        series_uid: SeriesInstanceUID, or None.
        instance_uid: SOPInstanceUID, or None.
        rest: What follows the UIDs: ``metadata``, ``frames/1``, ``series`` …, or empty.
    """

    path: str
    study_uid: str | None
    series_uid: str | None
    instance_uid: str | None
    rest: str


def parse_path(path: str, raw_path: bytes) -> Resource:
    """Read a path below a DICOMweb root.

    Args:
        path: The path, decoded.
        raw_path: The path of the whole request as it came.

    Raises:
        NotFoundError: If it is no path of DICOMweb.
    """
    parts = path.strip("/").split("/")
    uids: list[str | None] = []
    for level in _LEVELS:
        if len(parts) < 2 or parts[0] != level or not _is_uid(parts[1]):
            break
        uids.append(parts[1])
        parts = parts[2:]
    rest = "/".join(parts)
    if _ENCODED.search(raw_path) or _RESTS[len(uids)].fullmatch(rest) is None:
        raise NotFoundError("expected a path of DICOMweb such as studies/{uid}/series")
    study_uid, series_uid, instance_uid = (*uids, None, None, None)[:3]
    return Resource(path.strip("/"), study_uid, series_uid, instance_uid, rest)


def _is_uid(text: str) -> bool:
    return len(text) <= _UID_LENGTH and _UID.fullmatch(text) is not None
