"""``/quarantine``: what came in and was not trusted, each with the reason."""

from fastapi import APIRouter

from app import images
from app.intake import refusals
from server.dependencies import ReadSession
from server.wire.schemas import QuarantineOut, RefusedSegmentationOut

router = APIRouter(prefix="/quarantine", tags=["admin"])


@router.get("")
def list_quarantine(session: ReadSession) -> list[QuarantineOut]:
    """List the refused files and folders, each with the reason in one sentence."""
    return [QuarantineOut.model_validate(row) for row in images.list_quarantine(session)]


@router.get("/segmentations")
def list_refused_segmentations(session: ReadSession) -> list[RefusedSegmentationOut]:
    """List the DICOM segmentations that became no label, newest first, with the reason."""
    refused = refusals.refused_segmentations(session)
    return [RefusedSegmentationOut.model_validate(row) for row in refused]
