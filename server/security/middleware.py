"""What stands before every route: which host was called, who asks, and whether they may.

Nothing of a request's body is read before that is decided. The order, from the outside: the
key leaves the path, so that nothing behind sees it; the host is checked; where nobody has to
log in, only this machine and pages of this server may ask; otherwise the table decides.
"""

import logging
import math
import socket
from ipaddress import ip_address
from typing import Final
from urllib.parse import unquote

from anyio import CapacityLimiter, to_thread
from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.access.identity import Identity, acting_as
from app.access.mode import is_loopback
from app.settings import Settings
from app.tracing import current_trace
from server.errors import error_answer
from server.middleware import has_body
from server.pages.login import login_form
from server.security.guard import Credential, Guard
from server.security.headers import KEY_PREFIX
from server.security.limits import household
from server.security.matching import RouteRules
from server.security.origins import SAFE_METHODS, is_known_host, is_own_page, public_host
from server.security.table import Rule

logger = logging.getLogger(__name__)

COOKIE: Final = "caclabel_session"
"""Name of the cookie that a browser keeps after a login; see ``cookie_name``."""

_BEARER: Final = {"WWW-Authenticate": "Bearer"}

_THREADS: Final = 16
"""Threads that look up who asks, beside those of the endpoints, which may all be waiting."""

_DRAINED_BYTES: Final = 1 << 20
"""How much of a refused body is read: clients send all of it before they look at the answer."""

_LOGIN_BYTES: Final = 16 << 10
"""Most that a login may send; whoever sends it is nobody yet."""


class AccessMiddleware:
    """Lets a request pass that may pass."""

    def __init__(self, app: ASGIApp, *, rules: RouteRules, settings: Settings) -> None:
        """Stand in front of ``app``."""
        self._app = app
        self._rules = rules
        self._settings = settings
        self._own_names = _names_of_this_machine(settings)
        self._threads = CapacityLimiter(_THREADS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer why not."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            # There is no route for other protocols.
            await send({"type": "websocket.close", "code": 1008})
            return
        guard: Guard = scope["app"].state.services.guard
        headers = Headers(scope=scope)
        # Of two names a proxy in front may have looked at the other one.
        host = headers.get("host", "") if len(headers.getlist("host")) == 1 else ""
        if not is_known_host(host, self._settings.allowed_hosts, self._own_names):
            await _refuse(_unknown_host(), scope, receive, send)
        elif guard.is_on:
            await self._pass_guarded(guard, scope, receive, send)
        elif (refusal := self._refusal_where_open(scope, headers)) is not None:
            await _refuse(refusal, scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _refusal_where_open(self, scope: Scope, headers: Headers) -> Response | None:
        """Return why a request may not pass though nobody has to log in, or None."""
        if not _is_from_this_machine(scope):
            return error_answer(
                403, "nobody has to log in here, so this server answers its own machine only"
            )
        if scope["method"] not in SAFE_METHODS and not is_own_page(
            headers, self._settings.cors_origins, is_browser=False
        ):
            return _foreign_page()
        return None

    async def _pass_guarded(self, guard: Guard, scope: Scope, receive: Receive, send: Send) -> None:
        scope, path_key = without_key(scope)
        rule = self._rules.rule(scope)
        if rule is not None and rule.role is None and not path_key:
            await self._pass_public(guard, rule, scope, receive, send)
            return
        credential = Credential("path", path_key) if path_key else _credential_of(scope)
        identity = None
        if credential is not None:
            identity = await to_thread.run_sync(guard.identify, credential, limiter=self._threads)
            current_trace().user = identity.name if identity is not None else ""
        refusal = self._refusal(guard, scope, rule, credential, identity)
        if refusal is not None:
            await _refuse(refusal, scope, receive, send)
            return
        with acting_as(identity):
            await self._app(scope, receive, send)

    async def _pass_public(
        self, guard: Guard, rule: Rule, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Pass a request on for which nobody has to log in: logins themselves."""
        if scope["method"] not in SAFE_METHODS and not is_own_page(
            Headers(scope=scope), self._settings.cors_origins, is_browser=False
        ):
            await _refuse(_foreign_page(), scope, receive, send)
            return
        wait_s = guard.wait_s(rule.limit, household(address_of(scope))) if rule.limit else 0.0
        if wait_s > 0:
            await _refuse(too_many(wait_s), scope, receive, send)
            return
        if int(Headers(scope=scope).get("content-length", "0") or 0) > _LOGIN_BYTES:
            await _refuse(error_answer(413, "a login is shorter"), scope, receive, send)
            return
        await self._app(scope, _bounded(receive, _LOGIN_BYTES), send)

    def _refusal(
        self,
        guard: Guard,
        scope: Scope,
        rule: Rule | None,
        credential: Credential | None,
        identity: Identity | None,
    ) -> Response | None:
        """Return why a request may not pass, or None."""
        headers = Headers(scope=scope)
        if credential is None or identity is None:
            return _unknown_client(guard.settings, scope, headers, has_shown=credential is not None)
        if credential.means == "cookie" and scope["method"] not in SAFE_METHODS:
            origins = self._settings.cors_origins
            if not is_own_page(headers, origins, is_browser=True):
                return _foreign_page()
        if rule is None:
            # Without a route the application says so; one without a rule is nobody's.
            is_forgotten = self._rules.is_route(scope)
            return error_answer(403, "nobody may ask for this") if is_forgotten else None
        needed = rule.role
        if needed is not None and (identity.role is None or not identity.role.includes(needed)):
            return error_answer(403, f'Role "{needed}" is required to perform this action')
        wait_s = guard.wait_s(rule.limit, identity.name) if rule.limit else 0.0
        return too_many(wait_s) if wait_s > 0 else None


def cookie_name(name: str, scope: Scope) -> str:
    """Return what a cookie is called on the way that a request came.

    Under https with a prefix, by which browsers take it from this very host alone: a neighbour
    under the same domain can plant none (RFC 6265bis, 4.1.3).
    """
    return f"__Host-{name}" if scope["scheme"] == "https" else name


def address_of(scope: Scope) -> str:
    """Return the address of who asks."""
    client = scope.get("client")
    return str(client[0]) if client else "unknown"


def too_many(wait_s: float) -> Response:
    """Answer that somebody asks too often, and when to ask again."""
    answer = error_answer(429, f"too many requests; try again in {math.ceil(wait_s)} seconds")
    answer.headers["Retry-After"] = str(math.ceil(wait_s))
    return answer


def without_key(scope: Scope) -> tuple[Scope, str]:
    """Take the key out of the path ``/k/<key>/…``; returns it, or an empty text."""
    path: str = scope["path"]
    if not path.startswith(KEY_PREFIX):
        return scope, ""
    key, _, rest = path.removeprefix(KEY_PREFIX).partition("/")
    _, _, raw_rest = scope["raw_path"].removeprefix(KEY_PREFIX.encode()).partition(b"/")
    # A key that is missing is a wrong one, and so is one that is spelled in another way than
    # its path: it would stay in what is handed on.
    is_plain = scope["raw_path"].startswith(f"{KEY_PREFIX}{key}/".encode()) or not rest
    found = key if key and is_plain else "missing"
    return {**scope, "path": f"/{rest}", "raw_path": b"/" + raw_rest}, found


def _credential_of(scope: Scope) -> Credential | None:
    """Return what a request shows; a header wins, as it is sent on purpose."""
    headers = Headers(scope=scope)
    given = headers.get("authorization")
    if given is not None:
        scheme, _, text = given.partition(" ")
        return Credential("bearer", text.strip() if scheme.lower() == "bearer" else "")
    cookie = cookie_parser(headers.get("cookie", "")).get(cookie_name(COOKIE, scope))
    return Credential("cookie", unquote(cookie)) if cookie else None


def _unknown_client(
    settings: Settings, scope: Scope, headers: Headers, *, has_shown: bool
) -> Response:
    """Ask who it is: a browser by a page to log in, others by the words they know."""
    is_page = scope["method"] == "GET" and "text/html" in headers.get("accept", "")
    if is_page and "authorization" not in headers:
        query = scope["query_string"].decode("latin-1")
        place = scope["path"] + (f"?{query}" if query else "")
        return HTMLResponse(login_form(settings, place=place), 401)
    words = "Could not validate credentials" if has_shown else "Not authenticated"
    answer = error_answer(401, words)
    answer.headers.update(_BEARER)
    return answer


def _foreign_page() -> Response:
    return error_answer(403, "this was sent by a page of another server")


def _unknown_host() -> Response:
    return error_answer(
        400, "this server is not known by that name; CACLABEL_ALLOWED_HOSTS lists its names"
    )


def _is_from_this_machine(scope: Scope) -> bool:
    """Tell whether a request comes from here, also by a proxy that says for whom it asks."""
    address = address_of(scope)
    try:
        ip_address(address)
    except ValueError:
        return True  # A socket of this machine has no address.
    return is_loopback(address)


def _names_of_this_machine(settings: Settings) -> frozenset[str]:
    names = {socket.gethostname().lower(), settings.host.lower(), public_host(settings)}
    # Looking up the full name may wait for a name server; only other machines need it.
    if not is_loopback(settings.host):
        names.add(socket.getfqdn().lower())
    return frozenset(name for name in names if name)


async def _refuse(answer: Response, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer without the application, after the body that comes along, if it is not long."""
    left = _DRAINED_BYTES
    if has_body(scope["method"], Headers(scope=scope)):
        while left > 0:
            message = await receive()
            left -= len(message.get("body", b""))
            if not message.get("more_body", False):
                break
    await answer(scope, receive, send)


def _bounded(receive: Receive, most_bytes: int) -> Receive:
    """Let no more than some bytes of a body in; what comes after them is left out."""
    left = most_bytes

    async def receive_bounded() -> Message:
        nonlocal left
        message = await receive()
        body = message.get("body", b"")
        left -= len(body)
        return {**message, "body": b"", "more_body": False} if left < 0 else message

    return receive_bounded
