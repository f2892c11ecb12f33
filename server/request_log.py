"""One line of the log for each request, and an id by which people can find it.

The line tells the route as it is declared: what stands in a path or a query may name a
patient's image, or be a key.
"""

import asyncio
import logging
import time
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.tracing import Trace, request_id_of, trace_from_here
from server.log_lines import FIELDS
from server.request_figures import RequestFigures
from server.request_ids import REQUEST_ID, REQUEST_ID_HEADER, ROUTE
from server.security.matching import RouteRules
from server.security.middleware import without_key

logger = logging.getLogger(__name__)

UNKNOWN_ROUTE: Final = "unknown"
"""Stands for every path that no route is declared for."""

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

_CUT: Final = 499
"""Told of a request that got no answer, because the server had to stop."""

_FAILED: Final = 500


class RequestLogMiddleware:
    """Gives requests their ids, logs and counts them."""

    def __init__(self, app: ASGIApp, *, rules: RouteRules, figures: RequestFigures) -> None:
        """Stand in front of ``app``."""
        self._app = app
        self._rules = rules
        self._figures = figures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and tell how it was answered."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = request_id_of(Headers(scope=scope).get(REQUEST_ID_HEADER, ""))
        # Unforeseen errors are answered outside of every middleware, with the same scope.
        scope[REQUEST_ID] = request_id
        scope[ROUTE] = self._rules.template(without_key(scope)[0]) or UNKNOWN_ROUTE
        began, status = time.perf_counter(), _FAILED

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID_HEADER] = request_id
            await send(message)

        # The task of a request is its own, and what failed is told outside of this.
        trace = Trace(request_id)
        trace_from_here(trace)
        try:
            await self._app(scope, receive, send_with_id)
        except asyncio.CancelledError:
            status = _CUT
            raise
        finally:
            self._note(scope, status, time.perf_counter() - began, trace.user)

    def _note(self, scope: Scope, status: int, seconds: float, user: str) -> None:
        method = scope["method"] if scope["method"] in _METHODS else "other"
        route = scope[ROUTE]
        self._figures.note(method, route, status, seconds)
        milliseconds = round(1000 * seconds, 1)
        logger.info(
            "%s %s %d in %s ms, user %s",
            *(method, route, status, milliseconds, user or "-"),
            extra={
                FIELDS: {
                    "method": method,
                    "route": route,
                    "status": status,
                    "duration_ms": milliseconds,
                    "user": user,
                }
            },
        )
