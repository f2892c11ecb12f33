"""Passing requests on to the PACS: what it answers streams through, on our own origin."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

import requests
from fastapi import Request
from fastapi.responses import Response, StreamingResponse

from app.imaging.dicom.dicomweb import dicomweb_server
from app.imaging.dicom.dicomweb_answers import answering, error_of_answer
from app.settings import Settings
from server.dicomweb.paths import Resource
from server.errors import error_answer

WADO_ROOT: Final = "/proxy/dicom/wado"
"""Where addresses in answers point to."""

_REQUEST_HEADERS: Final = ("accept", "range", "if-none-match", "if-modified-since")
"""What of a request concerns the PACS; never cookies or credentials of the browser."""

_ANSWER_HEADERS: Final = (
    "content-type", "content-encoding", "content-length", "content-range", "accept-ranges",
    "etag", "last-modified", "warning",
)  # fmt: skip
"""What of an answer concerns the browser; never cookies, and nothing about the connection."""

_CHUNK_BYTES: Final = 1 << 16

_LARGEST_JSON_BYTES: Final = 256 << 20
"""Longest answer whose addresses are rewritten: the metadata of some thousand slices."""

_SAFE: Final = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox"}
"""Nothing that a PACS answers may run as a page of ours."""

_UNAUTHORIZED: Final = (401, 403)


def forward(settings: Settings, request: Request, resource: Resource) -> Response:
    """Ask the PACS what a browser asked us.

    Raises:
        PacsDownError: If it cannot be reached or fails.
        PacsRefusedError: If it does not take our credentials, or sends us elsewhere.
    """
    headers = {name: request.headers[name] for name in _REQUEST_HEADERS if name in request.headers}
    answer = dicomweb_server(settings).open(resource.path, request.url.query, headers)
    status = answer.status_code
    if status >= requests.codes.bad_request or answer.is_redirect:
        answer.close()
        if answer.is_redirect or status >= requests.codes.server_error or status in _UNAUTHORIZED:
            raise error_of_answer(answer)
        return error_answer(status, f"the DICOMweb server answered {status}")
    if request.method == "HEAD":
        return _head(answer)
    return _rewritten(answer) if _is_json(answer) else _streamed(answer)


def on_our_origin(content: bytes) -> bytes:
    """Let every address of DICOMweb in a DICOM JSON answer point to us.

    A PACS names itself in BulkDataURI and RetrieveURL, by a host that browsers may not reach
    and are not logged in to.
    """
    return json.dumps(json.loads(content, object_hook=_with_our_addresses)).encode()


def _with_our_addresses(element: dict[str, Any]) -> dict[str, Any]:
    if isinstance(element.get("BulkDataURI"), str):
        element["BulkDataURI"] = _our_address(element["BulkDataURI"])
    if element.get("vr") == "UR":
        element["Value"] = [_our_address(str(value)) for value in element.get("Value", ())]
    return element


def _our_address(address: str) -> str:
    _, found, path = address.partition("/studies/")
    return f"{WADO_ROOT}/studies/{path}" if found else address


def _is_json(answer: requests.Response) -> bool:
    return "json" in answer.headers.get("Content-Type", "").lower()


def _head(answer: requests.Response) -> Response:
    """Tell the headers only; the PACS was asked for the rest, because few know HEAD."""
    answer.close()
    # The length of JSON is another one once its addresses are ours.
    left_out = ("content-length", "content-encoding") if _is_json(answer) else ()
    return Response(None, answer.status_code, _headers(answer.headers, without=left_out))


def _rewritten(answer: requests.Response) -> Response:
    content = bytearray()
    with answering(), answer:
        for chunk in answer.iter_content(_CHUNK_BYTES):
            content += chunk
            if len(content) > _LARGEST_JSON_BYTES:
                return error_answer(502, "the answer of the DICOMweb server is too long")
    headers = _headers(answer.headers, without=("content-length", "content-encoding"))
    if not content:
        return Response(status_code=answer.status_code, headers=headers)
    try:
        body = on_our_origin(bytes(content))
    except ValueError:
        return error_answer(502, "the DICOMweb server answered something else than JSON")
    return Response(body, answer.status_code, headers)


def _streamed(answer: requests.Response) -> Response:
    def chunks() -> Iterator[bytes]:
        with answer:
            # As it was sent: a compressed answer stays one.
            yield from answer.raw.stream(_CHUNK_BYTES, decode_content=False)

    return StreamingResponse(chunks(), answer.status_code, _headers(answer.headers))


def _headers(given: Mapping[str, str], without: tuple[str, ...] = ()) -> dict[str, str]:
    passed = {name: given[name] for name in _ANSWER_HEADERS if name in given}
    return {**{name: text for name, text in passed.items() if name not in without}, **_SAFE}
