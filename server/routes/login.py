"""``/login``: the page on which people log in whose browser has no token to show."""

from typing import Annotated

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import HTMLResponse

from server.dependencies import ServicesDep
from server.flows import logins, provider_logins

router = APIRouter(tags=["auth"])


@router.get("/login", response_class=HTMLResponse)
def login_page(
    services: ServicesDep, request: Request, next: str = "/", left: bool = False
) -> Response:
    """Show the form to log in."""
    logins.check_on(services)
    leave = provider_logins.logout_address(services, request.scope) if left else ""
    return logins.login_answer(services, next, leave=leave)


@router.get("/login/provider", response_class=HTMLResponse)
def begin_at_provider(services: ServicesDep, request: Request, next: str = "/") -> Response:
    """Lead a browser to the page of the identity provider; 404 where there is none."""
    return provider_logins.begin(services, request.scope, next)


@router.get("/login/provider/done", response_class=HTMLResponse)
def come_back_from_provider(
    services: ServicesDep,
    request: Request,
    state: str = "",
    code: str = "",
    iss: str | None = None,
) -> Response:
    """Log a browser in that the identity provider sends back."""
    returned = provider_logins.Return(state, code, iss)
    return provider_logins.finish(services, request, returned)


@router.post("/login", response_class=HTMLResponse)
def log_in(
    services: ServicesDep,
    request: Request,
    username: Annotated[str, Form()],
    password: Annotated[str, Form()],
    next: Annotated[str, Form()] = "/",
) -> Response:
    """Log a browser in and lead it to the page that it asked for."""
    return logins.log_browser_in(services, request.scope, username, password, next)


@router.post("/logout", response_class=HTMLResponse)
def log_out(services: ServicesDep, request: Request) -> Response:
    """Log a browser out."""
    return logins.log_browser_out(services, request.scope)
