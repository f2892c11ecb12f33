"""Headers that keep answers from being used in other ways than meant."""

from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

KEY_PREFIX: Final = "/k/"
"""Begins paths in which a key stands, ``/k/<key>/…``."""

_ALWAYS: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    # Not `no-referrer`: browsers would no longer say that a form is sent by our own page.
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}

_PAGE_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'self';"
    " base-uri 'none'; frame-ancestors 'none'"
)
"""For our own pages, which run no script; the viewer brings its own."""


class HeadersMiddleware:
    """Adds security headers to every answer; one that has its own of a name keeps it."""

    def __init__(self, app: ASGIApp, *, is_shared: bool) -> None:
        """Stand in front of ``app``.

        Args:
            app: What answers.
            is_shared: Whether pages of other origins may load what it answers.
        """
        self._app = app
        self._headers = dict(_ALWAYS)
        if not is_shared:
            self._headers["Cross-Origin-Resource-Policy"] = "same-origin"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and its answer with the headers."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._add(scope, MutableHeaders(scope=message))
            await send(message)

        await self._app(scope, receive, send_with_headers)

    def _add(self, scope: Scope, headers: MutableHeaders) -> None:
        if scope["path"].startswith(KEY_PREFIX):
            # The address of such a page is a password.
            headers.setdefault("Referrer-Policy", "no-referrer")
        for name, value in self._headers.items():
            headers.setdefault(name, value)
        if headers.get("content-type", "").startswith("text/html"):
            headers.setdefault("Content-Security-Policy", _PAGE_POLICY)
        guard = scope["app"].state.services.guard
        if guard.is_on and "private" in headers.get("cache-control", "private"):
            # Patients' data, on workstations that several people use.
            headers["Cache-Control"] = "no-store"
