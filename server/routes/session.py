"""``/session/``: temporary images that are not part of the pool."""

from fastapi import APIRouter, UploadFile
from fastapi.responses import FileResponse

from app import sessions
from server.dependencies import Now, ServicesDep
from server.flows import temporary_images
from server.wire.schemas import SessionInfoOut, SessionOut

router = APIRouter(prefix="/session", tags=["session"])


@router.put("")
def open_session(
    services: ServicesDep,
    now: Now,
    files: list[UploadFile],
    expiry: float = 0,
    uncompress: bool = False,
) -> SessionOut:
    """Make a temporary image of one file, or of the files of a DICOM series."""
    return temporary_images.open_session(
        services, files, expiry_s=expiry, is_archive=uncompress, now=now
    )


@router.get("/{session_id}", response_model=SessionInfoOut)
def read_session(
    services: ServicesDep,
    now: Now,
    session_id: str,
    update_ts: bool = False,
    image: bool = False,
) -> SessionInfoOut | FileResponse:
    """Describe a session, or download its image."""
    find = sessions.touch if update_ts else sessions.get_session
    with services.database.writing() as session:
        row = find(session, session_id, now=now)
        if image:
            return temporary_images.session_file(session, services.settings, row.id)
    return temporary_images.session_info(row)


@router.delete("/{session_id}")
def close_session(services: ServicesDep, now: Now, session_id: str) -> SessionInfoOut:
    """Remove a temporary image; answers what it was."""
    row = temporary_images.close_session(services, session_id, now=now)
    return temporary_images.session_info(row)
