"""``/login``: the page on which people log in whose browser has no token to show."""

from typing import Annotated

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import HTMLResponse

from server.dependencies import ServicesDep
from server.flows import logins

router = APIRouter(tags=["auth"])


@router.get("/login", response_class=HTMLResponse)
def login_page(services: ServicesDep, next: str = "/") -> Response:
    """Show the form to log in, or who is logged in."""
    return logins.login_page(services, next)


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
def log_out(services: ServicesDep) -> Response:
    """Log a browser out."""
    return logins.log_browser_out(services)
