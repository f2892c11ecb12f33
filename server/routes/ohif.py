"""``/ohif``: the OHIF viewer."""

from fastapi import APIRouter, Response

from app.pacs import pool_view
from app.store.tables import Json
from server.dependencies import ReadSession, SettingsDep
from server.ohif import build

router = APIRouter(prefix="/ohif", tags=["viewer"])


@router.get("/images.json")
def list_images(session: ReadSession) -> Json:
    """Tell how many images OHIF can show, and which it cannot: those that are no DICOM."""
    viewable = pool_view.viewable_count(session)
    return {"viewable": viewable, "not_viewable": list(pool_view.not_viewable(session))}


@router.get("", response_class=Response)
@router.get("/{path:path}", response_class=Response)
def viewer(settings: SettingsDep, path: str = "") -> Response:
    """Serve the viewer; how to use it is in docs/ohif.md."""
    return build.file_answer(settings, path)
