"""``/info/``: what the clients build their panels from."""

from fastapi import APIRouter

from server.dependencies import ReadSession, SettingsDep
from server.wire.information import information
from server.wire.schemas import InfoOut

router = APIRouter(prefix="/info", tags=["info"])


@router.get("")
def info(session: ReadSession, settings: SettingsDep) -> InfoOut:
    """Tell what this server offers."""
    return information(session, settings)
