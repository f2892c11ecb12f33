"""Logging in and out over HTTP, by programs and by browsers."""

from typing import Final

from fastapi import HTTPException
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import Scope

from app.access.identity import acting
from app.errors import CredentialsError, NotFoundError
from server.dependencies import Services
from server.pages import render
from server.security.middleware import COOKIE, address_of, too_many
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
    _check_on(services)
    token = _log_in(services, scope, name, password, is_cookie=False)
    lasts_s = int(services.settings.token_hours * _HOUR_S)
    return TokenOut(access_token=token, expires_in=lasts_s)


def who_asks(services: Services) -> UserOut:
    """Describe who asks.

    Raises:
        NotFoundError: If nobody has to log in.
    """
    _check_on(services)
    identity = acting()
    if identity is None or identity.role is None:
        raise CredentialsError("Not authenticated")
    roles = [str(role) for role in identity.role.all_included()]
    return UserOut(username=identity.name, name=identity.name, roles=roles)


def login_page(services: Services, place: str) -> Response:
    """Show the form to log in."""
    _check_on(services)
    return _page(place, "", "")


def log_browser_in(
    services: Services, scope: Scope, name: str, password: str, place: str
) -> Response:
    """Log a browser in, which sends what it was given with each request to this server alone."""
    _check_on(services)
    try:
        token = _log_in(services, scope, name, password, is_cookie=True)
    except CredentialsError:
        return _page(place, _WRONG, name, 401)
    answer = RedirectResponse(_own_place(place), 303)
    answer.set_cookie(
        COOKIE,
        token,
        max_age=int(services.settings.token_hours * _HOUR_S),
        httponly=True,
        secure=scope["scheme"] == "https",
        samesite="strict",
    )
    return answer


def log_browser_out(services: Services) -> Response:
    """End the login of who asks."""
    _check_on(services)
    identity = acting()
    if identity is not None:
        services.guard.log_out(identity)
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(COOKIE)
    return answer


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


def _check_on(services: Services) -> None:
    if not services.guard.is_on:
        raise NotFoundError("nobody has to log in here")


def _page(place: str, problem: str, name: str, status: int = 200) -> Response:
    page = render("login.html", place=_own_place(place), problem=problem, user=name)
    return HTMLResponse(page, status)


def _own_place(place: str) -> str:
    """Return a place of this server; what leads to another one is the first page instead."""
    is_own = place.startswith("/") and not place.startswith(("//", "/\\")) and place.isprintable()
    return place if is_own else "/"
