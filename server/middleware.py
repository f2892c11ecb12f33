"""What happens to every request before its route: one spelling of paths, limits of its body."""

import shutil
from pathlib import Path
from typing import Final

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.settings import Settings

_MEGABYTE: Final = 1 << 20

_PLAIN_BODY_MB: Final = 16
"""Largest body that is no upload, such as JSON; it is read into memory whole."""

_FORM: Final = "multipart/form-data"
"""Bodies whose files are spooled to the disk."""

_PARTS: Final = "multipart/related"
"""Bodies of DICOMweb, which are read into memory whole."""

_LOOK_EVERY_BYTES: Final = 64 * _MEGABYTE
"""So much comes in between two looks at the disk."""


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
        await self._app(scope, receive, send)


class UploadLimitMiddleware:
    """Refuse a body that is too large, or has no room on the disk, while it streams in."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        """Stand in front of ``app`` and let bodies pass as the settings say."""
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; reading more of its body than allowed raises a 413 or 507."""
        if scope["type"] == "http":
            receive = self._counted(Headers(scope=scope), receive)
        await self._app(scope, receive, send)

    def _counted(self, headers: Headers, receive: Receive) -> Receive:
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        limit_mb = self._limit_mb(kind)
        stated = headers.get("content-length", "")
        length = int(stated) if stated.isdecimal() else 0
        is_spooled = kind == _FORM
        come, looked_at = 0, -_LOOK_EVERY_BYTES

        async def receive_counted() -> Message:
            nonlocal come, looked_at
            # Inside of the application, because form parsing answers 400 to every other error.
            if max(come, length) > limit_mb * _MEGABYTE:
                raise _too_large(limit_mb)
            if is_spooled and come - looked_at >= _LOOK_EVERY_BYTES:
                # It lies on the disk twice for a moment: as it came, and under its own name.
                self._check_room(max(length - come, 0) + max(length, come))
                looked_at = come
            message = await receive()
            come += len(message.get("body", b""))
            if come > limit_mb * _MEGABYTE:
                raise _too_large(limit_mb)
            return message

        return receive_counted

    def _limit_mb(self, kind: str) -> int:
        whole = self._settings.upload_limit_mb
        if kind == _FORM:
            return whole
        return min(whole, self._settings.label_limit_mb if kind == _PARTS else _PLAIN_BODY_MB)

    def _check_room(self, needed: int) -> None:
        check_room(self._settings.data, needed, reserve_mb=self._settings.disk_reserve_mb)


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
