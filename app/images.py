"""Images of the pool: registering, finding, opening and removing them."""

import secrets
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app import audit
from app.errors import ConflictError, ImagingError
from app.imaging.volume import Volume
from app.imaging.volume_file import read_volume_file
from app.imaging.volume_writer import write_volume
from app.intake import image_rows
from app.intake.client_info import check_info, without
from app.intake.folder_scan import ScanReport, scan_steps
from app.intake.identifiers import IMAGE_EXTENSIONS, check_name, safe_id, split_extension
from app.intake.image_rows import CONVERTED_EXTENSION, Origin, grid_of
from app.intake.pool import FINAL_TAG, get_image, labeled_ids
from app.settings import Settings
from app.store.cache import mark_used
from app.store.database import Database
from app.store.files import FileStore, file_sha256
from app.store.tables import ImageRow, Json, LeaseRow, QuarantineRow

__all__ = [
    "FINAL_TAG",
    "CheckedUpload",
    "PoolCounts",
    "ScanReport",
    "check_upload",
    "get_image",
    "grid_of",
    "image_file",
    "image_ids",
    "incoming_folder",
    "keep_upload",
    "list_quarantine",
    "open_volume",
    "pool_counts",
    "remove_image",
    "scan_steps",
    "scan_studies",
    "update_image_info",
]


_RESERVED: Final = ("name", "ts", "strategy")
"""Keys of an image's info that are the server's own; what clients say there is left out."""


@dataclass(frozen=True)
class PoolCounts:
    """How many images there are.

    Attributes:
        total: Images that can be opened.
        labeled: Images of those with a final label.
        missing: Images whose files are gone.
        quarantined: Files and folders that cannot be trusted.
    """

    total: int
    labeled: int
    missing: int
    quarantined: int


def incoming_folder(settings: Settings) -> Path:
    """Return the folder for files that are being received, on the disk of the file store."""
    folder = settings.data / "incoming"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@dataclass(frozen=True)
class CheckedUpload:
    """An uploaded volume that passed every check and lies in the file store.

    Attributes:
        row: The row it would become.
        volume: What it shows.
    """

    row: ImageRow
    volume: Volume


def check_upload(
    files: FileStore,
    settings: Settings,
    *,
    path: Path,
    image_id: str | None,
    name: str,
    info: Json,
    now: float,
    database: Database | None = None,
) -> CheckedUpload:
    """Check an uploaded file and put it into the file store: the slow part, no transaction.

    Args:
        files: Where the file is kept.
        settings: Settings of the deployment.
        path: The received file; it is moved.
        image_id: Id the client wants; None: the file name without its known ending.
        name: File name as the client sent it.
        info: What the client wants to keep with the image.
        now: Time of registration.
        database: Where an id that is taken shows before the file is kept.

    Raises:
        InvalidInputError: If the id is not allowed, or the info cannot be kept.
        ImagingError: If the file holds no CT volume that can be trusted; nothing is kept.
        ConflictError: If the id belongs to an image with other content; nothing is kept.
    """
    stem, extension = split_extension(name, IMAGE_EXTENSIONS)
    kind = image_rows.upload_kind(extension)
    wanted = check_name(image_id, "image id") if image_id else safe_id(stem, name)
    facts = {**without(info, *_RESERVED), "name": f"{stem}{extension}"}
    check_info(facts)
    received = incoming_folder(settings) / f"{secrets.token_hex(8)}{extension}"
    shutil.move(path, received)
    try:
        volume = read_volume_file(received, max_voxels=settings.max_voxels)
        digest = file_sha256(received)
        origin = Origin("upload", kind, digest, digest, extension, digest)
        measured = image_rows.measure_volume(volume)
        row = image_rows.image_row(wanted, measured, origin, facts, now=now)
        if database is not None:
            with database.reading() as session:
                _check_free(session.get(ImageRow, wanted), row)
        files.put_file(received, extension, digest)
    finally:
        received.unlink(missing_ok=True)
    return CheckedUpload(row, volume)


def keep_upload(session: Session, checked: CheckedUpload, *, now: float) -> ImageRow:
    """Take a checked upload into the pool.

    Returns:
        The row; the one of before when the same content was sent again under its id.

    Raises:
        ConflictError: If the id belongs to an image with other content.
    """
    row = checked.row
    existing = session.get(ImageRow, row.id)
    if existing is None:
        session.add(row)
        session.flush()
        change = {"after": {"content_sha256": row.content_sha256}}
        actor = str(row.info.get("user", ""))
        audit.record(session, actor, "upload image", row.id, change, now=now)
        return row
    _check_free(existing, row)
    return existing if existing.missing_since is None else session.merge(row)


def _check_free(existing: ImageRow | None, row: ImageRow) -> None:
    """Refuse an id that another image has."""
    if existing is not None and existing.content_sha256 != row.content_sha256:
        raise ConflictError(
            f"image {row.id} exists with other content; upload this one under another id"
        )


def scan_studies(
    database: Database,
    settings: Settings,
    *,
    now: Callable[[], float],
    on_progress: Callable[[float], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> ScanReport:
    """Scan the studies folder to its end, or until ``should_stop``; see ``scan_steps``."""
    steps = scan_steps(database, settings, now=now)
    while not should_stop():
        try:
            on_progress(next(steps))
        except StopIteration as end:
            report: ScanReport = end.value
            return report
    return ScanReport()


def image_ids(
    session: Session, which: Literal["all", "labeled", "unlabeled"] = "all"
) -> Sequence[str]:
    """Return the ids of all images that can be opened, or of those with or without a label."""
    wanted = select(ImageRow.id).where(ImageRow.missing_since.is_(None))
    if which == "labeled":
        wanted = wanted.where(ImageRow.id.in_(labeled_ids()))
    elif which == "unlabeled":
        wanted = wanted.where(ImageRow.id.not_in(labeled_ids()))
    return session.scalars(wanted.order_by(ImageRow.registered_at, ImageRow.id)).all()


def list_quarantine(session: Session) -> Sequence[QuarantineRow]:
    """Return what could not be trusted, by path."""
    return session.scalars(select(QuarantineRow).order_by(QuarantineRow.path)).all()


def pool_counts(session: Session) -> PoolCounts:
    """Count the images."""
    present = select(func.count()).select_from(ImageRow).where(ImageRow.missing_since.is_(None))
    missing = select(func.count()).select_from(ImageRow)
    missing = missing.where(ImageRow.missing_since.is_not(None), ImageRow.removed_at.is_(None))
    return PoolCounts(
        total=session.scalar(present) or 0,
        labeled=session.scalar(present.where(ImageRow.id.in_(labeled_ids()))) or 0,
        missing=session.scalar(missing) or 0,
        quarantined=session.scalar(select(func.count()).select_from(QuarantineRow)) or 0,
    )


def update_image_info(
    session: Session, image_id: str, info: Json, *, actor: str, now: float
) -> None:
    """Merge ``info`` into what is kept with an image.

    Raises:
        NotFoundError: If there is no such image.
        InvalidInputError: If the info cannot be kept.
    """
    row = get_image(session, image_id)
    kept = without(info, *_RESERVED)
    merged = {**row.info, **kept, "user": actor}
    check_info(merged)
    change = {"before": {key: row.info.get(key) for key in kept}, "after": kept}
    row.info = merged
    audit.record(session, actor, "update image info", image_id, change, now=now)


def remove_image(session: Session, image_id: str, *, actor: str, now: float) -> None:
    """Hide an image for good; its file, its labels and its history are kept.

    Raises:
        NotFoundError: If there is no such image.
    """
    row = get_image(session, image_id)
    before = {"is_removed": row.removed_at is not None}
    row.removed_at = now
    row.missing_since = row.missing_since or now
    open_lease = update(LeaseRow).where(
        LeaseRow.image_id == image_id, LeaseRow.released_at.is_(None)
    )
    session.execute(open_lease.values(released_at=now, outcome="removed"))
    change = {"before": before, "after": {"is_removed": True}}
    audit.record(session, actor, "remove image", image_id, change, now=now)


def open_volume(settings: Settings, files: FileStore, row: ImageRow) -> Volume:
    """Decode an image in the order of its own file.

    Raises:
        NotFoundError: If its files are gone.
        ImagingError: If they show something else than when the image was registered.
    """
    return image_rows.read_row(settings, files, row)


def image_file(settings: Settings, files: FileStore, row: ImageRow) -> Path:
    """Return the one file that clients download; DICOM is converted the first time.

    ``row.file_sha256`` is filled, and stored where the row belongs to an open transaction.

    Raises:
        NotFoundError: If the image's files are gone.
        ImagingError: If they show something else than when the image was registered.
    """
    if not _is_converted(row):
        path = image_rows.row_file(settings, files, row)
        _check_unchanged(row, path)
        return path
    path = settings.cache / "images" / f"{row.content_sha256}{CONVERTED_EXTENSION}"
    if not (mark_used(path) and _is_as_made(row, path)):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{secrets.token_hex(8)}{CONVERTED_EXTENSION}")
        try:
            write_volume(temporary, open_volume(settings, files, row))
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        row.file_sha256 = file_sha256(path)
    if not row.file_sha256:
        row.file_sha256 = file_sha256(path)
    return path


def _is_converted(row: ImageRow) -> bool:
    if row.source == "upload":
        return False
    return row.kind == "dicom" or not row.path.lower().endswith(row.name.removeprefix(row.id))


def _is_as_made(row: ImageRow, path: Path) -> bool:
    """Tell whether a converted file still is the one whose hash clients are told."""
    return not row.file_sha256 or file_sha256(path) == row.file_sha256


def _check_unchanged(row: ImageRow, path: Path) -> None:
    """Compare the whole file: a disk that changes a bit changes neither size nor time."""
    # The file store has compared an upload already.
    if row.source != "upload" and file_sha256(path) != row.file_sha256:
        raise ImagingError(f"the file of image {row.id} changed since it was registered")
