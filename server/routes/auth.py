"""``/auth``: asked by 3D Slicer before every single call, so it answers from memory."""

from fastapi import APIRouter

from server.wire.schemas import AuthOut

router = APIRouter(prefix="/auth", tags=["auth"])


@router.get("")
async def auth_state() -> AuthOut:
    """Tell whether clients have to log in."""
    return AuthOut(enabled=False)
