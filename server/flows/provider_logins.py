"""Browsers that log in on the identity provider's own page: there, and back with a code.

The way back ends with a page that leads on by itself, not with a redirect: a browser sends the
cookie of the login, which is for this site alone, with what a page of this server begins, and
a redirect would still be what the provider's page began.
"""

import logging
import time
from dataclasses import dataclass
from typing import Final

from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.requests import Request
from starlette.types import Scope

from app.access.login_attempts import LIFETIME_S, LoginAttempt, begin_attempt, name_of, read_attempt
from app.errors import CredentialsError, NotFoundError, ProviderDownError
from server.dependencies import Services
from server.flows.logins import check_on, keep_login, login_answer, own_place
from server.pages import render
from server.security.middleware import address_of, cookie_name
from server.security.origins import own_address

logger = logging.getLogger(__name__)

_COOKIE: Final = "caclabel_login_"

_STRAY: Final = (
    "This login was begun in another browser or under another address of this server, or too"
    " long ago. Begin again."
)

_REFUSED: Final = (
    "The identity provider did not vouch for you, or you may do nothing here. Ask who runs this"
    " server."
)


@dataclass(frozen=True)
class Return:
    """What the provider sends along with a browser.

    Attributes:
        state: Which try it is about.
        code: What brings the tokens; empty where the login failed.
        issuer: Who says to be the provider.
    """

    state: str
    code: str
    issuer: str | None


def begin(services: Services, scope: Scope, place: str) -> Response:
    """Lead a browser to the page of the provider."""
    check_on(services)
    attempt = begin_attempt(own_place(place), now=time.time())
    try:
        address = services.guard.provider.login_address(
            attempt, come_back_to=_return_address(services, scope)
        )
    except ProviderDownError as error:
        return login_answer(services, place, _sentence(error), status=503)
    answer = RedirectResponse(address, 303)
    answer.set_cookie(
        _cookie_of(attempt.state, scope),
        attempt.to_text(),
        max_age=LIFETIME_S,
        httponly=True,
        secure=scope["scheme"] == "https",
        # The provider's page sends the browser back: stricter, and the cookie would stay home.
        samesite="lax",
    )
    return answer


def finish(services: Services, request: Request, returned: Return) -> Response:
    """Log a browser in that comes back from the provider."""
    check_on(services)
    scope = request.scope
    cookie = _cookie_of(returned.state, scope)
    attempt = read_attempt(request.cookies.get(cookie, ""), returned.state)
    if attempt is None or attempt.is_over(time.time()):
        logger.info("refused a login that was not begun in this browser")
        answer = login_answer(services, "/", _STRAY, status=400)
    else:
        answer = _finish_attempt(services, scope, attempt, returned)
    answer.delete_cookie(cookie, secure=scope["scheme"] == "https", httponly=True, samesite="lax")
    answer.headers["Referrer-Policy"] = "no-referrer"
    return answer


def logout_address(services: Services, scope: Scope) -> str:
    """Return where a browser ends its login at the provider; empty where it cannot."""
    try:
        return services.guard.provider.logout_address(
            come_back_to=f"{own_address(services.settings, scope)}/login"
        )
    except (ProviderDownError, NotFoundError):
        return ""


def _finish_attempt(
    services: Services, scope: Scope, attempt: LoginAttempt, returned: Return
) -> Response:
    if not returned.code:
        logger.info("the identity provider sent a browser back without a login")
        return login_answer(services, attempt.place, _REFUSED, status=401)
    try:
        token = services.guard.log_in_by_code(
            attempt,
            returned.code,
            named_issuer=returned.issuer,
            come_back_to=_return_address(services, scope),
            address=address_of(scope),
        )
    except CredentialsError:
        return login_answer(services, attempt.place, _REFUSED, status=401)
    except ProviderDownError as error:
        return login_answer(services, attempt.place, _sentence(error), status=503)
    answer = HTMLResponse(render("logged_in.html", place=own_place(attempt.place)))
    keep_login(services, scope, answer, token)
    return answer


def _return_address(services: Services, scope: Scope) -> str:
    return f"{own_address(services.settings, scope)}/login/provider/done"


def _cookie_of(state: str, scope: Scope) -> str:
    return cookie_name(_COOKIE + name_of(state), scope)


def _sentence(error: ProviderDownError) -> str:
    text = str(error)
    return f"{text[:1].upper()}{text[1:]}."
