"""QIDO-RS and WADO-RS for the series of the pool, so that viewers need no PACS."""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from fastapi import Request
from fastapi.responses import FileResponse, Response

from app.errors import InvalidInputError, NotFoundError
from app.imaging.dicom.json_model import DicomJson, read_frame, render_picture, tag_of
from app.pacs import pool_view as view
from server.dependencies import Services
from server.dicomweb.parts import parts_answer
from server.dicomweb.paths import Resource

_JSON: Final = "application/dicom+json"

_DICOM: Final = "application/dicom"

_RAW: Final = "application/octet-stream"

_PICTURES: Final = ("image/png", "image/jpeg")

_THUMBNAIL_PIXELS: Final = 128

_NUMBER: Final = re.compile("[0-9]{1,9}")
"""More results than any pool has; Python refuses to read very long numbers."""

_OPTIONS: Final = ("limit", "offset", "includefield", "fuzzymatching")
"""What a search may ask for besides filters."""

_PATIENT_DATA: Final = {"Cache-Control": "private, no-cache"}
"""Nothing about patients stays in caches that others share."""


def answer(services: Services, request: Request, resource: Resource) -> Response:
    """Answer a request from the registered series.

    Raises:
        NotFoundError: If the pool has no such thing.
        InvalidInputError: If the search cannot be understood.
    """
    kind = resource.rest.rpartition("/")[2]
    if resource.rest in ("studies", "series", "instances"):
        return _search(services, request, resource)
    if kind == "metadata":
        return _metadata(services, resource)
    if kind in ("rendered", "thumbnail"):
        return _picture(services, request, resource, is_small=kind == "thumbnail")
    if resource.rest.startswith("frames/"):
        return _frames(services, request, resource, kind)
    if resource.rest:
        raise NotFoundError("this server answers headers whole and keeps no bulk data apart")
    return _instances(services, request, resource)


def read_search(query: Sequence[tuple[str, str]]) -> view.Search:
    """Read the query of a search.

    Raises:
        InvalidInputError: If limit or offset is no whole number from 0.
        NotFoundError: If a filter is no DICOM attribute.
    """
    filters, numbers = {}, {"limit": None, "offset": 0}
    for name, value in query:
        option = name.lower()
        if option in numbers:
            if _NUMBER.fullmatch(value) is None:
                raise InvalidInputError(f"expected a number from 0 to 999999999 as {option}")
            numbers[option] = int(value)
        elif option not in _OPTIONS and value:
            filters[tag_of(name)] = value
    return view.Search(filters, numbers["limit"], numbers["offset"] or 0)


def _search(services: Services, request: Request, resource: Resource) -> Response:
    search = read_search(request.query_params.multi_items())
    settings, study_uid = services.settings, resource.study_uid
    with services.database.reading() as session:
        if resource.rest == "studies":
            found = view.find_studies(session, settings, search)
        elif resource.rest == "series":
            found = view.find_series(session, settings, search, study_uid)
        elif study_uid is None:
            raise InvalidInputError("expected the study whose instances are searched for")
        else:
            series_uid = resource.series_uid
            found = view.find_instances(session, settings, search, study_uid, series_uid)
    return _json(found)


def _metadata(services: Services, resource: Resource) -> Response:
    with services.database.reading() as session:
        return _json(view.metadata(session, services.settings, *_uids(resource)))


def _frames(services: Services, request: Request, resource: Resource, numbers: str) -> Response:
    [path] = _files(services, resource)
    frames = [read_frame(path, int(number)) for number in numbers.split(",")]
    first = frames[0]
    types = [f"{frame.media_type}; transfer-syntax={frame.transfer_syntax}" for frame in frames]
    if len(frames) == 1 and _is_single(request, (_RAW, first.media_type)):
        return Response(first.content, media_type=types[0], headers=_PATIENT_DATA)
    contents = (frame.content for frame in frames)
    return parts_answer(first.media_type, zip(types, contents, strict=True))


def _instances(services: Services, request: Request, resource: Resource) -> Response:
    files = _files(services, resource)
    if len(files) == 1 and _is_single(request, (_DICOM,)):
        return FileResponse(files[0], media_type=_DICOM, headers=_PATIENT_DATA)

    def parts() -> Iterator[tuple[str, bytes]]:
        for path in files:
            yield _DICOM, path.read_bytes()

    return parts_answer(_DICOM, parts())


def _picture(
    services: Services, request: Request, resource: Resource, *, is_small: bool
) -> Response:
    files = _files(services, resource)
    accept = request.headers.get("accept", "")
    media_type = "image/jpeg" if "image/jpeg" in accept else "image/png"
    picture = render_picture(
        # Of a series, the slice in its middle.
        files[len(files) // 2],
        media_type,
        window_hu=_window(request.query_params),
        longest_side=_THUMBNAIL_PIXELS if is_small else None,
    )
    return Response(picture, media_type=media_type, headers=_PATIENT_DATA)


def _window(query: Mapping[str, str]) -> tuple[float, float] | None:
    """Read the parameter ``window``: centre, width and function."""
    given = query.get("window")
    if given is None:
        return None
    try:
        centre, width = (float(part) for part in given.split(",")[:2])
    except ValueError:
        raise InvalidInputError("expected window as centre,width,linear") from None
    if not (math.isfinite(centre) and math.isfinite(width)):
        raise InvalidInputError("expected finite numbers as window")
    return centre, width


def _files(services: Services, resource: Resource) -> list[Path]:
    with services.database.reading() as session:
        return view.instance_files(session, services.settings, *_uids(resource))


def _uids(resource: Resource) -> tuple[str, str | None, str | None]:
    return resource.study_uid or "", resource.series_uid, resource.instance_uid


def _is_single(request: Request, media_types: Sequence[str]) -> bool:
    """Tell whether a client takes the bytes alone, without parts around them."""
    accept = request.headers.get("accept", "").lower()
    wanted = [part.partition(";")[0].strip() for part in accept.split(",")]
    return "multipart/related" not in wanted and any(kind in wanted for kind in media_types)


def _json(found: list[DicomJson]) -> Response:
    try:
        body = json.dumps(found, allow_nan=False)
    except ValueError:
        # JSON knows neither NaN nor infinity; a missing value keeps its place as null.
        body = json.dumps(json.loads(json.dumps(found), parse_constant=lambda _: None))
    return Response(body, media_type=_JSON, headers=_PATIENT_DATA)
