"""``/auth``: logging in with a name and a password, as 3D Slicer does.

It asks whether people have to log in before every single call, so that is answered from memory.
"""

from typing import Annotated

from fastapi import APIRouter, Form, Request

from server.dependencies import ServicesDep
from server.flows import logins
from server.wire.schemas import AuthOut, TokenOut, UserOut

router = APIRouter(prefix="/auth", tags=["auth"])


@router.get("")
async def auth_state(services: ServicesDep) -> AuthOut:
    """Tell whether clients have to log in; not those with a key in their address."""
    return logins.auth_state(services)


@router.post("/token")
def token(
    services: ServicesDep,
    request: Request,
    username: Annotated[str, Form()],
    password: Annotated[str, Form()],
) -> TokenOut:
    """Log in with a name and a password; 404 where nobody has to."""
    return logins.new_token(services, request.scope, username, password)


@router.get("/token/valid")
def valid_token(services: ServicesDep) -> UserOut:
    """Tell whose token it is; 404 where nobody has one."""
    return logins.who_asks(services)
