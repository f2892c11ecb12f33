"""The registered DICOM series as studies, series and instances, as QIDO-RS and WADO-RS know them.

Only series of the pool are shown. Headers are kept in memory, a bounded number of them, each
under the state of its file: a series that was retrieved again is read again. Functions may be
called from any thread.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import translate
from functools import lru_cache
from pathlib import Path
from typing import Final, TypeVar

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from app.errors import ImagingError, InvalidInputError, NotFoundError
from app.imaging.dicom.json_model import DicomJson, read_header, text_of
from app.imaging.dicom.series import order_files
from app.intake.image_rows import row_finding
from app.pacs.retrieval import SOURCE, cached_files
from app.settings import Settings
from app.store.tables import ImageRow

_Found = TypeVar("_Found")

_State = tuple[int, int, int]
"""Inode, time and size of a file."""

STUDY_UID: Final = "0020000D"
SERIES_UID: Final = "0020000E"
INSTANCE_UID: Final = "00080018"

_STUDY_TAGS: Final = (
    "00080020", "00080030", "00080050", "00080090", "00081030", "00100010", "00100020",
    "00100030", "00100040", STUDY_UID, "00200010",
)  # fmt: skip
"""What a search for studies tells, as far as the header has it."""

_SERIES_TAGS: Final = (
    "00080021", "00080031", "00080060", "0008103E", "00180015", SERIES_UID, "00200011",
)  # fmt: skip
"""What a search for series tells besides."""

_INSTANCE_TAGS: Final = ("00080016", INSTANCE_UID, "00200013", "00280008", "00280010", "00280011")
"""What a search for instances tells besides."""

_MODALITIES: Final = "00080061"
"""ModalitiesInStudy."""

_ROW_TAGS: Final = ("00080020", "00100020", STUDY_UID, _MODALITIES)
"""What the database knows of a study."""

_DATES: Final = ("00080020", "00080021", "00080030", "00080031", "00100030")
"""Dates and times, which are searched by ranges."""

_SUMMARIES: Final = 4096
"""Series whose summary is kept: about 2 kB each."""

_SERIES: Final = 16
"""Series whose headers are all kept: some megabytes each."""


@dataclass(frozen=True)
class Search:
    """What is searched for.

    Attributes:
        filters: Wanted values by tag, with the wildcards and ranges of QIDO-RS.
        limit: Most results; None: all.
        offset: Results to leave out first.
    """

    filters: Mapping[str, str] = field(default_factory=dict)
    limit: int | None = None
    offset: int = 0


def find_studies(session: Session, settings: Settings, search: Search) -> list[DicomJson]:
    """Search for studies, the newest first.

    Raises:
        InvalidInputError: If studies cannot be searched by one of the filters.
    """
    _check(search, (*_STUDY_TAGS, _MODALITIES))
    studies: dict[str, list[ImageRow]] = {}
    for row in session.scalars(_rows().order_by(*_NEWEST_FIRST)):
        studies.setdefault(row.study_uid, []).append(row)
    known = {tag: value for tag, value in search.filters.items() if tag in _ROW_TAGS}
    groups = [rows for rows in studies.values() if _agrees(_row_facts(rows), known)]
    if len(known) == len(search.filters):
        # No file is opened but for the studies that are shown.
        return [_study(settings, rows) for rows in _page(groups, search)]
    found = (_study(settings, rows) for rows in groups)
    return _page([study for study in found if _agrees(study, search.filters)], search)


def find_series(
    session: Session, settings: Settings, search: Search, study_uid: str | None = None
) -> list[DicomJson]:
    """Search for series, of one study or of all.

    Raises:
        InvalidInputError: If series cannot be searched by one of the filters.
    """
    _check(search, (*_STUDY_TAGS, *_SERIES_TAGS))
    rows = session.scalars(_rows(study_uid).order_by(*_NEWEST_FIRST))
    found = (_series(settings, row) for row in rows)
    return _page([series for series in found if _agrees(series, search.filters)], search)


def find_instances(
    session: Session,
    settings: Settings,
    search: Search,
    study_uid: str,
    series_uid: str | None = None,
) -> list[DicomJson]:
    """Search for the instances of a study, or of one series of it.

    Raises:
        InvalidInputError: If instances cannot be searched by one of the filters.
    """
    tags = (*_STUDY_TAGS, *_SERIES_TAGS, *_INSTANCE_TAGS)
    _check(search, tags)
    headers = (_only(header, tags) for header in _headers(session, settings, study_uid, series_uid))
    return _page([header for header in headers if _agrees(header, search.filters)], search)


def metadata(
    session: Session,
    settings: Settings,
    study_uid: str,
    series_uid: str | None = None,
    instance_uid: str | None = None,
) -> list[DicomJson]:
    """Return the headers of a study, a series or an instance, slice by slice.

    Raises:
        NotFoundError: If there is no such thing in the pool.
    """
    found = [
        header
        for header in _headers(session, settings, study_uid, series_uid)
        if instance_uid in (None, text_of(header, INSTANCE_UID))
    ]
    if not found:
        raise NotFoundError("the pool has no such DICOM study, series or instance")
    return found


def instance_files(
    session: Session,
    settings: Settings,
    study_uid: str,
    series_uid: str | None = None,
    instance_uid: str | None = None,
) -> list[Path]:
    """Return the files of a study, a series or an instance, slice by slice.

    Raises:
        NotFoundError: If there is no such thing in the pool.
    """
    rows = session.scalars(_rows(study_uid, series_uid).order_by(*_NEWEST_FIRST))
    files = [
        path
        for row in rows
        for path in _slices(settings, row)
        if instance_uid is None or instance_uid == _instance_uid(path, _state(path))
    ]
    if not files:
        raise NotFoundError("the pool has no such DICOM study, series or instance")
    return files


def viewable_count(session: Session) -> int:
    """Count the images that a DICOM viewer can show."""
    return session.scalar(select(func.count()).select_from(_rows().subquery())) or 0


def not_viewable(session: Session) -> Sequence[str]:
    """Return the ids of the images that a DICOM viewer cannot show: those that are no DICOM."""
    shown = _rows().with_only_columns(ImageRow.id)
    wanted = select(ImageRow.id).where(ImageRow.missing_since.is_(None), ImageRow.id.not_in(shown))
    return session.scalars(wanted.order_by(ImageRow.id)).all()


_NEWEST_FIRST: Final = (
    ImageRow.study_date.desc(),
    ImageRow.study_time.desc(),
    ImageRow.study_uid,
    ImageRow.series_uid,
)


def _rows(study_uid: str | None = None, series_uid: str | None = None) -> Select[ImageRow]:
    wanted = select(ImageRow).where(
        ImageRow.missing_since.is_(None),
        ImageRow.kind == "dicom",
        ImageRow.source.in_(("studies", SOURCE)),
        ImageRow.study_uid != "",
    )
    if study_uid is not None:
        wanted = wanted.where(ImageRow.study_uid == study_uid)
    return wanted if series_uid is None else wanted.where(ImageRow.series_uid == series_uid)


def _files(settings: Settings, row: ImageRow) -> tuple[Path, ...]:
    if row.source != SOURCE:
        return row_finding(settings, row).files
    # Never retrieved for this: what a PACS has, viewers get from it while it is up.
    files = cached_files(settings, row.series_uid)
    if not files:
        raise NotFoundError(f"image {row.id} is not in the cache")
    return files


def _slices(settings: Settings, row: ImageRow) -> tuple[Path, ...]:
    """Return the files of an image in the order of its slices."""
    files = _files(settings, row)
    if row.source != SOURCE:
        return files
    # In the cache they are named by their instances.
    return _ordered(files, tuple(map(_state, files)))


def _headers(
    session: Session, settings: Settings, study_uid: str, series_uid: str | None
) -> Iterable[DicomJson]:
    for row in session.scalars(_rows(study_uid, series_uid).order_by(*_NEWEST_FIRST)):
        files = _slices(settings, row)
        yield from _read_headers(files, tuple(map(_state, files)))


def _row_facts(rows: Sequence[ImageRow]) -> DicomJson:
    """Return what is known of a study without opening a file."""
    return {
        "00080020": _element("DA", rows[0].study_date),
        "00100020": _element("LO", rows[0].patient_id),
        STUDY_UID: _element("UI", rows[0].study_uid),
        _MODALITIES: _element("CS", *sorted({row.modality for row in rows})),
    }


def _study(settings: Settings, rows: Sequence[ImageRow]) -> DicomJson:
    return {
        **_only(_summary(settings, rows[0]), _STUDY_TAGS),
        **_row_facts(rows),
        "00080056": _element("CS", "ONLINE"),
        "00201206": _element("IS", len(rows)),
        "00201208": _element("IS", sum(int(row.shape["z"]) for row in rows)),
    }


def _series(settings: Settings, row: ImageRow) -> DicomJson:
    summary = _summary(settings, row)
    count = _element("IS", int(row.shape["z"]))
    return {**_only(summary, (*_STUDY_TAGS, *_SERIES_TAGS)), "00201209": count}


def _summary(settings: Settings, row: ImageRow) -> DicomJson:
    """Return the summary of a series; what the database knows while its files are away."""
    try:
        first = _files(settings, row)[0]
        return _read_summary(first, _state(first))
    except (ImagingError, NotFoundError):
        series = {SERIES_UID: _element("UI", row.series_uid), "00080060": _element("CS", "CT")}
        return {**_row_facts([row]), **series}


def _state(path: Path) -> _State:
    """Return what is different when a file was written anew."""
    try:
        status = path.stat()
    except FileNotFoundError:
        raise NotFoundError("a file of the series has just been replaced; ask again") from None
    return status.st_ino, status.st_mtime_ns, status.st_size


@lru_cache(maxsize=_SUMMARIES)
def _read_summary(path: Path, _written: _State) -> DicomJson:
    return read_header(path, (*_STUDY_TAGS, *_SERIES_TAGS))


@lru_cache(maxsize=_SUMMARIES)
def _ordered(files: tuple[Path, ...], _states: tuple[_State, ...]) -> tuple[Path, ...]:
    return order_files(files)


@lru_cache(maxsize=_SERIES)
def _read_headers(files: tuple[Path, ...], _states: tuple[_State, ...]) -> tuple[DicomJson, ...]:
    return tuple(read_header(path) for path in files)


@lru_cache(maxsize=_SUMMARIES * _SERIES)
def _instance_uid(path: Path, _written: _State) -> str:
    return text_of(read_header(path, (INSTANCE_UID,)), INSTANCE_UID)


def _only(header: DicomJson, tags: Iterable[str]) -> DicomJson:
    return {tag: header[tag] for tag in ("00080005", *tags) if tag in header}


def _element(vr: str, *values: object) -> dict[str, object]:
    known = [value for value in values if value != ""]
    return {"vr": vr, "Value": known} if known else {"vr": vr}


def _page(found: Sequence[_Found], search: Search) -> list[_Found]:
    end = None if search.limit is None else search.offset + search.limit
    return list(found[search.offset : end])


def _check(search: Search, known: Sequence[str]) -> None:
    unknown = sorted(set(search.filters) - set(known))
    if unknown:
        raise InvalidInputError(f"expected a search by {', '.join(known)}, got {unknown[0]}")


def _agrees(header: DicomJson, filters: Mapping[str, str]) -> bool:
    return all(_matches(tag, wanted, text_of(header, tag)) for tag, wanted in filters.items())


def _matches(tag: str, wanted: str, value: str) -> bool:
    if wanted in ("", "*"):
        return True
    if tag in _DATES and "-" in wanted:
        first, _, last = wanted.partition("-")
        return bool(value) and first <= value and (not last or value <= last + "~")
    if tag in (STUDY_UID, SERIES_UID, INSTANCE_UID, _MODALITIES):
        return bool(set(re.split(r"[,\\]", wanted)) & set(value.split("\\")))
    return _pattern(wanted).match(value) is not None


@lru_cache(maxsize=64)
def _pattern(wanted: str) -> re.Pattern[str]:
    """Translate the wildcards ``*`` and ``?``; brackets mean themselves, case does not matter."""
    return re.compile(translate(wanted.replace("[", "[[]")), re.IGNORECASE)
