"""Temporary images: one volume each, outside the pool, gone after a while.

Files lie in a folder of their own below the data folder. The row decides whether a session
exists; a folder without a row is swept up by ``remove_expired``.
"""

import shutil
import uuid
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.errors import ImagingError, NotFoundError, StorageFullError
from app.imaging.archive import is_archive_file, open_archive
from app.imaging.reader import read_volume
from app.imaging.volume import Volume
from app.intake.identifiers import IMAGE_EXTENSIONS, safe_id, split_extension
from app.settings import Settings
from app.store.tables import SessionRow

_SECONDS_PER_MINUTE: Final = 60.0
"""The longest life of a session is set in minutes."""

_MAX_FILES: Final = 10_000
"""Most files of one session; a CT series has some hundred."""

_BYTES_PER_MEGABYTE: Final = 1024 * 1024
"""The upload limit is set in megabytes."""


@dataclass(frozen=True)
class UploadedFile:
    """A received file.

    Attributes:
        name: Name as the client sent it.
        path: Where it was received; it is moved.
    """

    name: str
    path: Path


@dataclass(frozen=True)
class SessionFiles:
    """Files that may become a session.

    Attributes:
        session_id: Id of the session, and name of their folder.
        name: Name of the single file; empty for a folder of several.
        volume: What they show.
    """

    session_id: str
    name: str
    volume: Volume


def receive(
    settings: Settings, uploads: Sequence[UploadedFile], *, is_archive: bool = False
) -> SessionFiles:
    """Check the files of one image and put them where sessions lie: the slow part, no transaction.

    Args:
        settings: Settings of the deployment.
        uploads: A volume file, or the files of one DICOM series.
        is_archive: Whether a single zip file is to be unpacked.

    Raises:
        ImagingError: If the files are no CT volume that can be trusted; nothing is kept.
    """
    if not uploads or len(uploads) > _MAX_FILES:
        raise ImagingError(f"expected 1 to {_MAX_FILES} image files, got {len(uploads)}")
    session_id = str(uuid.uuid4())
    folder = _folder(settings, session_id)
    folder.mkdir(parents=True)
    with ExitStack() as unless_received:
        unless_received.callback(shutil.rmtree, folder, ignore_errors=True)
        _receive(settings, folder, uploads, is_archive=is_archive)
        name = _single_name(folder)
        volume = read_volume(folder / name if name else folder, max_voxels=settings.max_voxels)
        unless_received.pop_all()
    return SessionFiles(session_id, name, volume)


def create_session(
    session: Session,
    settings: Settings,
    received: SessionFiles,
    *,
    now: float,
    expiry_s: float = 0.0,
) -> SessionRow:
    """Keep a received image for a while.

    Args:
        session: Open transaction.
        settings: Settings of the deployment.
        received: Its files.
        now: Time of creation.
        expiry_s: How long it may lie unused; 0 or more than the setting: as the setting says.
    """
    longest = settings.session_minutes * _SECONDS_PER_MINUTE
    row = SessionRow(
        id=received.session_id,
        name=received.name,
        created_at=now,
        last_access_at=now,
        expiry_s=min(expiry_s, longest) if expiry_s > 0 else longest,
    )
    session.add(row)
    session.flush()
    return row


def get_session(session: Session, session_id: str, *, now: float) -> SessionRow:
    """Return a session.

    Raises:
        NotFoundError: If there is none with this id, or it has expired.
    """
    row = session.get(SessionRow, session_id)
    if row is None or row.last_access_at + row.expiry_s < now:
        raise NotFoundError(f"no session {session_id[:64]!r}; send the image again")
    return row


def touch(session: Session, session_id: str, *, now: float) -> SessionRow:
    """Note that a session is in use, which makes it live on.

    Raises:
        NotFoundError: If there is none with this id, or it has expired.
    """
    row = get_session(session, session_id, now=now)
    row.last_access_at = max(row.last_access_at, now)
    return row


def image_path(session: Session, settings: Settings, session_id: str) -> Path:
    """Return the file of a session's image, or the folder of its DICOM series.

    Raises:
        NotFoundError: If there is no such session.
    """
    row = session.get(SessionRow, session_id)
    path = _folder(settings, session_id) / row.name if row else None
    if path is None or not path.exists():
        raise NotFoundError(f"no session {session_id[:64]!r}; send the image again")
    return path


def open_volume(session: Session, settings: Settings, session_id: str) -> Volume:
    """Decode the image of a session.

    Raises:
        NotFoundError: If there is no such session.
        ImagingError: If its files are damaged.
    """
    return read_volume(image_path(session, settings, session_id))


def remove_session(session: Session, settings: Settings, session_id: str) -> SessionRow:
    """Remove a session with its files and return what it was.

    Raises:
        NotFoundError: If there is none with this id.
    """
    row = session.get(SessionRow, session_id)
    if row is None:
        raise NotFoundError(f"no session {session_id[:64]!r}")
    session.delete(row)
    session.flush()
    shutil.rmtree(_folder(settings, row.id), ignore_errors=True)
    return row


def remove_expired(session: Session, settings: Settings, *, now: float) -> int:
    """Remove the sessions that nobody has used for too long, and count them."""
    expired = select(SessionRow.id).where(SessionRow.last_access_at + SessionRow.expiry_s < now)
    removed = [
        remove_session(session, settings, session_id)
        for session_id in session.scalars(expired).all()
    ]
    _sweep(session, settings, now)
    return len(removed)


def _sweep(session: Session, settings: Settings, now: float) -> None:
    """Remove folders that a killed upload left behind."""
    known = set(session.scalars(select(SessionRow.id)))
    longest = settings.session_minutes * _SECONDS_PER_MINUTE
    for folder in (settings.data / "sessions").glob("*"):
        # Another process may be sweeping, too.
        with suppress(FileNotFoundError):
            if folder.name not in known and folder.stat().st_mtime + longest < now:
                shutil.rmtree(folder, ignore_errors=True)


def _folder(settings: Settings, session_id: str) -> Path:
    return settings.data / "sessions" / session_id


def _receive(
    settings: Settings, folder: Path, uploads: Sequence[UploadedFile], *, is_archive: bool
) -> None:
    if is_archive and len(uploads) == 1 and is_archive_file(uploads[0].path):
        _unpack(settings, folder, uploads[0].path)
        return
    for number, upload in enumerate(uploads):
        name = upload.name if len(uploads) == 1 else f"{number:05d}.dcm"
        shutil.move(upload.path, folder / _safe_name(name))


def _unpack(settings: Settings, folder: Path, archive: Path) -> None:
    """Unpack the files of an archive under names of our own, so that no path can lead out."""
    limit = settings.upload_limit_mb * _BYTES_PER_MEGABYTE
    room = shutil.disk_usage(folder).free - settings.disk_reserve_mb * _BYTES_PER_MEGABYTE
    with open_archive(archive, max_files=_MAX_FILES, max_bytes=limit) as packed:
        if packed.size > room:
            raise StorageFullError("the disk of the server has no room for the unpacked archive")
        for number, name in enumerate(packed.names):
            is_single = len(packed.names) == 1
            packed.extract(
                number, folder / (_safe_name(name) if is_single else f"{number:05d}.dcm")
            )


def _single_name(folder: Path) -> str:
    """Return the name of the only file of a folder when it is a volume file, else nothing."""
    names = [path.name for path in folder.iterdir()]
    is_volume = len(names) == 1 and split_extension(names[0], IMAGE_EXTENSIONS)[1]
    return names[0] if is_volume else ""


def _safe_name(name: str) -> str:
    stem, extension = split_extension(name, IMAGE_EXTENSIONS)
    return f"{safe_id(stem, name)}{extension}"
