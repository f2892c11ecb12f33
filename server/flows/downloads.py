"""Files that clients download, each with its bare name in ``Content-Disposition``."""

import hashlib
import secrets
from pathlib import Path
from typing import Final

from fastapi.responses import FileResponse
from sqlalchemy.orm import Session
from starlette.background import BackgroundTask

from app import datastore, images, preannotations
from app.clicks.opening import prepare_image
from app.errors import InvalidInputError, NotFoundError
from app.settings import Settings
from app.store.files import FileStore
from app.store.tables import ImageRow
from server.dependencies import Services
from server.wire.multipart import file_headers

_BINARY: Final = "application/octet-stream"
"""Type of every file: clients go by the extension of the name."""

_LABEL_EXTENSION: Final = ".nrrd"

_DIGESTS: Final = ("sha256", "sha512", "md5")


def file_answer(path: Path, name: str) -> FileResponse:
    """Answer with a file."""
    return FileResponse(path, media_type=_BINARY, headers=file_headers(name))


def image_answer(services: Services, image_id: str, *, now: float) -> FileResponse:
    """Answer with the file of an image, which is made ready for clicks meanwhile."""
    row, path = _image_file(services, image_id)
    prepare_image(services.database, services.settings, image_id, now=now)
    return file_answer(path, row.name)


def check_image(services: Services, image_id: str, checksum: str) -> None:
    """Check that an image can be downloaded, with the checksum the client knows, if any.

    Raises:
        NotFoundError: If it cannot, or its file is another one.
        InvalidInputError: If the checksum is of an unknown kind.
    """
    _, path = _image_file(services, image_id)
    if checksum and not _has_checksum(path, checksum):
        raise NotFoundError(f"the file of image {image_id} has another checksum")


def label_answer(session: Session, files: FileStore, image_id: str, tag: str) -> FileResponse:
    """Answer with the newest version of a label; ``original`` is the prediction if none is kept.

    So 3D Slicer shows a prediction with the next sample before anybody asked for it.
    """
    path = preannotations.label_file(session, files, image_id, tag)
    return file_answer(path, f"{image_id}{_LABEL_EXTENSION}")


def dataset_answer(
    session: Session, files: FileStore, settings: Settings, limit: int | None
) -> FileResponse:
    """Answer with a zip file of the labeled images, which is gone after it was sent."""
    path = images.incoming_folder(settings) / f"{secrets.token_hex(8)}.zip"
    datastore.dataset_zip(session, files, settings, path, limit=limit)
    answer = file_answer(path, "dataset.zip")
    answer.background = BackgroundTask(path.unlink, missing_ok=True)
    return answer


def _image_file(services: Services, image_id: str) -> tuple[ImageRow, Path]:
    """Return an image with its file; a DICOM series is converted outside any transaction."""
    with services.database.reading() as session:
        row = images.get_image(session, image_id)
    checksum = row.file_sha256
    path = images.image_file(services.settings, services.files, row)
    if row.file_sha256 != checksum:
        with services.database.writing() as session:
            images.get_image(session, image_id).file_sha256 = row.file_sha256
    return row, path


def _has_checksum(path: Path, checksum: str) -> bool:
    kind, _, digest = checksum.rpartition(":")
    name = (kind or "sha256").lower()
    if name not in _DIGESTS:
        raise InvalidInputError(f"expected a checksum of kind {', '.join(_DIGESTS)}, got {kind!r}")
    with path.open("rb") as file:
        return hashlib.file_digest(file, name).hexdigest() == digest.lower()
