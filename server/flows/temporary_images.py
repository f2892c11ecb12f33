"""Temporary images: of sessions that a client opens, and of files sent along with ``/infer``."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from fastapi import UploadFile
from fastapi.responses import FileResponse
from sqlalchemy.orm import Session

from app import audit, sessions
from app.errors import InvalidInputError
from app.settings import Settings
from app.store.tables import Json, SessionRow
from server.dependencies import Services
from server.flows.downloads import file_answer
from server.flows.uploads import received
from server.wire.options import DEFAULT_CLIENT
from server.wire.schemas import SessionInfoOut, SessionOut


def open_session(
    services: Services,
    uploads: Sequence[UploadFile],
    *,
    expiry_s: float,
    is_archive: bool,
    now: float,
) -> SessionOut:
    """Make a temporary image of one file, or of the files of a DICOM series."""
    row = _create(
        services, uploads, now=now, expiry_s=expiry_s, is_archive=is_archive, is_noted=True
    )
    return SessionOut(session_id=row.id, session_info=session_info(row))


def session_info(row: SessionRow) -> SessionInfoOut:
    """Describe a session; no server path is told."""
    return SessionInfoOut(
        name=row.id,
        path=row.id,
        image=row.name or row.id,
        create_ts=int(row.created_at),
        last_access_ts=int(row.last_access_at),
        expiry=int(row.expiry_s),
    )


def session_file(session: Session, settings: Settings, session_id: str) -> FileResponse:
    """Answer with the image of a session.

    Raises:
        InvalidInputError: If it is a series of many files, which nobody asks back.
    """
    path = sessions.image_path(session, settings, session_id)
    if path.is_dir():
        raise InvalidInputError("the session holds a DICOM series; only single files are answered")
    return file_answer(path, path.name)


@contextmanager
def session_for(
    services: Services, session_id: str, upload: UploadFile | None, *, now: float
) -> Iterator[str]:
    """Yield the session to predict: the client's own, or one for its file; else none ("").

    The one for a file is gone after the block.
    """
    if session_id or upload is None:
        yield session_id
        return
    row = _create(services, [upload], now=now)
    try:
        yield row.id
    finally:
        _remove(services, row.id)


def close_session(services: Services, session_id: str, *, now: float) -> SessionRow:
    """Remove a temporary image that a client opened, and return what it was."""
    return _remove(services, session_id, noted_at=now)


def _remove(services: Services, session_id: str, noted_at: float | None = None) -> SessionRow:
    with services.database.writing() as session:
        path = sessions.image_path(session, services.settings, session_id)
        row = sessions.remove_session(session, services.settings, session_id)
        if noted_at is not None:
            change: Json = {"before": {"expiry_s": row.expiry_s}}
            audit.record(session, DEFAULT_CLIENT, "close session", row.id, change, now=noted_at)
    services.session_images.forget(path)
    return row


def _create(
    services: Services,
    uploads: Sequence[UploadFile],
    *,
    now: float,
    expiry_s: float = 0.0,
    is_archive: bool = False,
    is_noted: bool = False,
) -> SessionRow:
    with received(services.settings, uploads) as files:
        kept = sessions.receive(services.settings, files, is_archive=is_archive)
    with services.database.writing() as session:
        row = sessions.create_session(session, services.settings, kept, now=now, expiry_s=expiry_s)
        path = sessions.image_path(session, services.settings, row.id)
        if is_noted:
            # Names of files are left out: people call files by their patients.
            change: Json = {"after": {"is_archive": is_archive, "expiry_s": row.expiry_s}}
            audit.record(session, DEFAULT_CLIENT, "open session", row.id, change, now=now)
            sessions.remove_expired(session, services.settings, now=now)
    # Decoded to check it: the first click comes at once.
    services.session_images.keep(path, kept.volume)
    return row
