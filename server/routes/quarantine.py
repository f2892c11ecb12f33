"""``/quarantine``: what was found in the studies folder and not trusted."""

from fastapi import APIRouter

from app import images
from server.dependencies import ReadSession
from server.wire.schemas import QuarantineOut

router = APIRouter(prefix="/quarantine", tags=["admin"])


@router.get("")
def list_quarantine(session: ReadSession) -> list[QuarantineOut]:
    """List the refused files and folders, each with the reason in one sentence."""
    return [QuarantineOut.model_validate(row) for row in images.list_quarantine(session)]
