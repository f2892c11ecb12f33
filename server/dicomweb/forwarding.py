"""Passing requests on to the PACS: what it answers streams through, on our own origin.

Concurrency: whoever waits for a PACS holds a thread. Questions and JSON are waited for in the
few places of the line to it; the pieces of a stream by a few threads of their own, so that
streams that have come to a stop wait for each other and nobody waits for them.
"""

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

import requests
from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar
from fastapi import Request
from fastapi.responses import Response, StreamingResponse

from app.imaging.dicom.answer_body import AnswerBody
from app.imaging.dicom.dicomweb import dicomweb_server
from app.imaging.dicom.dicomweb_answers import error_of_answer
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

_LARGEST_JSON_BYTES: Final = 256 << 20
"""Longest answer whose addresses are rewritten: the metadata of some thousand slices."""

_SAFE: Final = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox"}
"""Nothing that a PACS answers may run as a page of ours."""

_UNAUTHORIZED: Final = (401, 403)

_STREAM_THREADS: Final = 16
"""Threads that wait for the next piece of a stream."""

_stream_threads: RunVar[CapacityLimiter] = RunVar("stream threads")


def forward(settings: Settings, request: Request, resource: Resource) -> Response:
    """Ask the PACS what a browser asked us.

    Raises:
        PacsDownError: If it cannot be reached or fails.
        PacsRefusedError: If it does not take our credentials, or sends us elsewhere.
    """
    headers = {name: request.headers[name] for name in _REQUEST_HEADERS if name in request.headers}
    server = dicomweb_server(settings)
    with server.place():
        answer = server.open(resource.path, request.url.query, headers)
        status = answer.status_code
        if status >= requests.codes.bad_request or answer.is_redirect:
            answer.close()
            return _refusal(answer)
        if request.method == "HEAD":
            return _head(answer)
        if _is_json(answer):
            return _rewritten(answer, server.body(answer, is_decoded=True))
    return _streamed(answer, server.body(answer))


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


def _refusal(answer: requests.Response) -> Response:
    status = answer.status_code
    if answer.is_redirect or status >= requests.codes.server_error or status in _UNAUTHORIZED:
        raise error_of_answer(answer)
    return error_answer(status, f"the DICOMweb server answered {status}")


def _rewritten(answer: requests.Response, body: AnswerBody) -> Response:
    content = bytearray()
    while piece := body.read():
        content += piece
        if len(content) > _LARGEST_JSON_BYTES:
            body.close()
            return error_answer(502, "the answer of the DICOMweb server is too long")
    headers = _headers(answer.headers, without=("content-length", "content-encoding"))
    if not content:
        return Response(status_code=answer.status_code, headers=headers)
    try:
        ours = on_our_origin(bytes(content))
    except ValueError:
        return error_answer(502, "the DICOMweb server answered something else than JSON")
    return Response(ours, answer.status_code, headers)


def _streamed(answer: requests.Response, body: AnswerBody) -> Response:
    async def pieces() -> AsyncIterator[bytes]:
        try:
            # As it was sent: a compressed answer stays one.
            while piece := await to_thread.run_sync(body.read, limiter=_limiter()):
                yield piece
        finally:
            body.close()

    return StreamingResponse(pieces(), answer.status_code, _headers(answer.headers))


def _limiter() -> CapacityLimiter:
    """Return the limit of this event loop."""
    try:
        return _stream_threads.get()
    except LookupError:
        limiter = CapacityLimiter(_STREAM_THREADS)
        _stream_threads.set(limiter)
        return limiter


def _headers(given: Mapping[str, str], without: tuple[str, ...] = ()) -> dict[str, str]:
    passed = {name: given[name] for name in _ANSWER_HEADERS if name in given}
    return {**{name: text for name, text in passed.items() if name not in without}, **_SAFE}
