"""What happens to every request before its route: one spelling of paths, limits of its body."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.settings import Settings
from server.errors import error_answer

_MEGABYTE: Final = 1 << 20

_PLAIN_BODY_MB: Final = 16
"""Largest body that is no upload, such as JSON; it is read into memory whole."""

FORM: Final = "multipart/form-data"
"""Bodies whose files are spooled to the disk."""

_PARTS: Final = "multipart/related"
"""Bodies of DICOMweb, which are read into memory whole."""

_LOOK_EVERY_BYTES: Final = 64 * _MEGABYTE
"""So much comes in between two looks at the disk."""


_METHODS_WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})


def may_have_body(method: str) -> bool:
    """Tell whether to wait for the body that a request states.

    The stock client of MONAI Label, once logged in, repeats the length and the type of its last
    upload with every GET and DELETE that follows, and sends none: a server that waits hangs.
    """
    return method in _METHODS_WITH_BODY


def has_body(method: str, headers: Mapping[str, str]) -> bool:
    """Tell whether a body comes with a request, by what it states."""
    is_stated = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
    return may_have_body(method) and is_stated


def content_type(headers: Mapping[str, str]) -> str:
    """Return the type of a body in small letters, without parameters; empty where none is."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


class SlashMiddleware:
    """Let every path be spelled with and without a slash at its end.

    Routes are declared without one. A redirect would do for browsers, but the clients of
    this protocol use ``http.client``, which takes a redirect for a failure.
    """

    def __init__(self, app: ASGIApp) -> None:
        """Stand in front of ``app``."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its path spelled without a slash at its end."""
        if scope["type"] == "http":
            scope = {**scope, "path": scope["path"].rstrip("/") or "/"}
            if "\0" in scope["path"] or b"%00" in scope["query_string"]:
                # Not every database takes one, and nothing is called so.
                await error_answer(400, "expected an address without NUL")(scope, receive, send)
                return
        await self._app(scope, receive, send)


class UploadLimitMiddleware:
    """Refuse a body that is too large, or has no room on the disk, while it streams in."""

    def __init__(self, app: ASGIApp) -> None:
        """Stand in front of ``app``."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; reading more of its body than allowed raises a 413 or 507."""
        if scope["type"] == "http":
            settings: Settings = scope["app"].state.services.settings
            receive = _counted(Headers(scope=scope), receive, settings)
        await self._app(scope, receive, send)


def _counted(headers: Headers, receive: Receive, settings: Settings) -> Receive:
    kind = content_type(headers)
    limit_mb = _limit_mb(kind, settings)
    stated = headers.get("content-length", "")
    length = int(stated) if stated.isdecimal() else 0
    come, looked_at = 0, -_LOOK_EVERY_BYTES

    async def receive_counted() -> Message:
        nonlocal come, looked_at
        # Inside of the application, because form parsing answers 400 to every other error.
        if max(come, length) > limit_mb * _MEGABYTE:
            raise _too_large(limit_mb)
        if kind == FORM and come - looked_at >= _LOOK_EVERY_BYTES:
            # It lies on the disk twice for a moment: as it came, and under its own name.
            needed = max(length - come, 0) + max(length, come)
            check_room(settings.data, needed, reserve_mb=settings.disk_reserve_mb)
            looked_at = come
        message = await receive()
        come += len(message.get("body", b""))
        if come > limit_mb * _MEGABYTE:
            raise _too_large(limit_mb)
        return message

    return receive_counted


def _limit_mb(kind: str, settings: Settings) -> int:
    if kind == FORM:
        return settings.upload_limit_mb
    most = settings.label_limit_mb if kind == _PARTS else _PLAIN_BODY_MB
    return min(settings.upload_limit_mb, most)


def check_room(folder: Path, needed: int, *, reserve_mb: int) -> None:
    """Refuse what would leave less than the reserve on the disk of a folder.

    Raises:
        HTTPException: 507, if ``needed`` bytes have no room there.
    """
    free = shutil.disk_usage(folder).free
    if free - needed < reserve_mb * _MEGABYTE:
        raise HTTPException(
            507, f"the disk of the server has no room for it; {reserve_mb} MB of it stay free"
        )


def _too_large(limit_mb: int) -> HTTPException:
    return HTTPException(413, f"the upload is larger than {limit_mb} MB, the limit of this server")
