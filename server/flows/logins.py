"""Logging in and out over HTTP, by programs and by browsers."""

from typing import Final

from fastapi import HTTPException
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import Scope

from app.access.identity import acting
from app.errors import CredentialsError, NotFoundError
from server.dependencies import Services
from server.pages.login import login_form, provider_label
from server.security.middleware import COOKIE, address_of, cookie_name, too_many
from server.wire.schemas import AuthOut, TokenOut, UserOut

_CLIENT: Final = "caclabel"

_HOUR_S: Final = 3600

_WRONG: Final = "User name or password is wrong."


def auth_state(services: Services) -> AuthOut:
    """Tell whether a client has to log in that shows nothing; one with a key need not."""
    if not services.guard.is_on or acting() is not None:
        return AuthOut(enabled=False)
    settings = services.settings
    return AuthOut(
        enabled=True,
        client_id=settings.oidc_client_id or _CLIENT,
        realm=settings.oidc_issuer or _CLIENT,
    )


def new_token(services: Services, scope: Scope, name: str, password: str) -> TokenOut:
    """Log a program in.

    Raises:
        NotFoundError: If nobody has to log in.
        CredentialsError: If name or password is wrong.
    """
    check_on(services)
    token = _log_in(services, scope, name, password, is_cookie=False)
    lasts_s = int(services.settings.token_hours * _HOUR_S)
    return TokenOut(access_token=token, expires_in=lasts_s)


def who_asks(services: Services) -> UserOut:
    """Describe who asks.

    Raises:
        NotFoundError: If nobody has to log in.
    """
    check_on(services)
    identity = acting()
    if identity is None or identity.role is None:
        raise CredentialsError("Not authenticated")
    roles = [str(role) for role in identity.role.all_included()]
    return UserOut(username=identity.name, name=identity.name, roles=roles)


def log_browser_in(
    services: Services, scope: Scope, name: str, password: str, place: str
) -> Response:
    """Log a browser in, which sends what it was given with each request to this server alone."""
    check_on(services)
    try:
        token = _log_in(services, scope, name, password, is_cookie=True)
    except CredentialsError:
        return login_answer(services, place, _WRONG, name, status=401)
    answer = RedirectResponse(own_place(place), 303)
    keep_login(services, scope, answer, token)
    return answer


def keep_login(services: Services, scope: Scope, answer: Response, token: str) -> None:
    """Give a browser the cookie of its login."""
    answer.set_cookie(
        cookie_name(COOKIE, scope),
        token,
        max_age=int(services.settings.token_hours * _HOUR_S),
        httponly=True,
        secure=scope["scheme"] == "https",
        samesite="strict",
    )


def log_browser_out(services: Services, scope: Scope) -> Response:
    """End the login of who asks."""
    check_on(services)
    identity = acting()
    if identity is not None:
        services.guard.log_out(identity)
    is_provided = bool(provider_label(services.settings))
    answer = RedirectResponse("/login?left=true" if is_provided else "/login", 303)
    answer.delete_cookie(
        cookie_name(COOKIE, scope),
        secure=scope["scheme"] == "https",
        httponly=True,
        samesite="strict",
    )
    return answer


def login_answer(
    services: Services,
    place: str,
    problem: str = "",
    name: str = "",
    *,
    leave: str = "",
    status: int = 200,
) -> Response:
    """Answer with the page to log in."""
    settings = services.settings
    page = login_form(settings, place=own_place(place), problem=problem, user=name, leave=leave)
    return HTMLResponse(page, status)


def own_place(place: str) -> str:
    """Return a place of this server; what leads to another one is the first page instead."""
    is_own = place.startswith("/") and not place.startswith(("//", "/\\")) and place.isprintable()
    return place if is_own else "/"


def check_on(services: Services) -> None:
    """Refuse where nobody has to log in.

    Raises:
        NotFoundError: With that sentence.
    """
    if not services.guard.is_on:
        raise NotFoundError("nobody has to log in here")


def _log_in(services: Services, scope: Scope, name: str, password: str, *, is_cookie: bool) -> str:
    wait_s = services.guard.wait_for_name_s(name)
    if wait_s > 0:
        refusal = too_many(wait_s)
        raise HTTPException(
            refusal.status_code,
            "too many tries; try again later",
            {"Retry-After": refusal.headers["Retry-After"]},
        )
    return services.guard.log_in(name, password, address=address_of(scope), is_cookie=is_cookie)
