"""What happens to every request before its route: one spelling of paths, a size limit."""

from typing import Final

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_MEGABYTE: Final = 1 << 20


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
    """Refuse a body as soon as it is larger than the limit, while it streams in."""

    def __init__(self, app: ASGIApp, limit_mb: int) -> None:
        """Stand in front of ``app`` and let bodies of ``limit_mb`` megabytes pass."""
        self._app = app
        self._limit_mb = limit_mb

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; reading more of its body than allowed raises a 413."""
        await self._app(scope, self._counted(receive), send)

    def _counted(self, receive: Receive) -> Receive:
        left = self._limit_mb * _MEGABYTE

        async def receive_counted() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                # An HTTP exception, because form parsing answers 400 to every other one.
                limit = f"{self._limit_mb} MB, the limit of this server"
                raise HTTPException(413, f"the upload is larger than {limit}")
            return message

        return receive_counted
