"""Images and labels of others, taken into the pool.

Concurrency: safe beside a running server. Volumes are decoded, converted and written to the
file store before the transaction, which only inserts rows; what is in the pool already is
found by its content, so that taking it again adds nothing.
"""

import secrets
import shutil
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from app import audit, images, inference
from app.calcium.labels import CALCIUM_LABELS
from app.errors import ConflictError, ImagingError
from app.exchange.data_folder import DataFolder
from app.imaging.geometry import same_grid
from app.imaging.labelmap import write_label_map
from app.imaging.volume import Volume
from app.imaging.volume_file import file_kind, read_volume_file
from app.imaging.volume_hash import content_hash
from app.imaging.volume_writer import write_volume
from app.intake import image_rows
from app.intake.client_info import check_info
from app.intake.identifiers import distinct_id, safe_id
from app.intake.image_rows import CONVERTED_EXTENSION, Origin, grid_of
from app.intake.label_check import check_label
from app.intake.pool import FINAL_TAG
from app.intake.submission import ReadyLabel, Submission, keep
from app.label_scores import score_label
from app.store.tables import ImageRow, Json, LabelRow

ACTOR = "import"
"""Who the trail of changes names."""


@dataclass(frozen=True, eq=False)
class ForeignImage:
    """An image that may be new to the pool.

    Attributes:
        volume: The checked volume, identifiers included.
        name: What it is called, which becomes its id.
        patient: Groups the images of a patient for the split into training and validation;
            empty: as the volume says.
        regroups: Whether this also holds for an image that the pool has already.
        info: What is kept with it.
        file: Its file, kept as it is when it is one; None: the volume is converted.
        is_name_unique: Whether another image of this name is an error, as for a series UID, and
            no accident, as for a file name.
    """

    volume: Volume
    name: str
    patient: str = ""
    regroups: bool = False
    info: Json = field(default_factory=dict)
    file: Path | None = None
    is_name_unique: bool = False


@dataclass(frozen=True, eq=False)
class ForeignLabel:
    """Calcium that others drew.

    Attributes:
        mask: Canonical label map on the grid of its image, shape (Z, Y, X).
        annotator: Who drew it.
        info: What is kept with it.
    """

    mask: NDArray[np.uint8]
    annotator: str
    info: Json = field(default_factory=dict)


@dataclass(frozen=True)
class Taken:
    """What was taken in.

    Attributes:
        image_id: Id of the image in the pool.
        is_new_image: Whether the pool did not have it.
        new_labels: Labels it did not have.
        is_new_reference: Whether reference scores were added.
        problems: Sentences about what was left out.
    """

    image_id: str
    is_new_image: bool
    new_labels: int = 0
    is_new_reference: bool = False
    problems: tuple[str, ...] = ()


def take(
    data: DataFolder,
    image: ForeignImage,
    label: ForeignLabel | None = None,
    reference: Json | None = None,
) -> Taken:
    """Take an image with its label, or with the reference scores, in one transaction.

    A final label or reference scores that the image has already are left as they are; so are
    labels that were deleted here.

    Raises:
        InvalidInputError: If the image or the label cannot be kept; nothing is then.
        ConflictError: If the image was removed, or its id is that of another image.
    """
    row = _known_row(data, image) or _new_row(data, image)
    ready = _prepare(data, row, label)
    with data.database.writing() as session:
        is_new_image = _keep_image(session, row, now=data.now())
        kept = images.get_image(session, row.id)
        if image.patient and (is_new_image or image.regroups):
            kept.patient_key = image_rows.patient_key(image.patient)
        return Taken(
            row.id,
            is_new_image,
            new_labels=_keep_label(data, session, row.id, ready),
            is_new_reference=_keep_reference(kept, reference or {}),
        )


def _known_row(data: DataFolder, image: ForeignImage) -> ImageRow | None:
    """Find the image in the pool by what it shows."""
    row = _row_of_content(data, content_hash(image.volume))
    return row if row is not None and row.missing_since is None else None


def _row_of_content(data: DataFolder, content: str) -> ImageRow | None:
    wanted = select(ImageRow).where(ImageRow.content_sha256 == content)
    by_worth = wanted.order_by(
        ImageRow.removed_at.is_not(None), ImageRow.missing_since.is_not(None), ImageRow.id
    )
    with data.database.reading() as session:
        row = session.scalars(by_worth.limit(1)).first()
    if row is not None and row.removed_at is not None:
        raise ConflictError(f"image {row.id} was removed from the pool and is not brought back")
    return row


def _new_row(data: DataFolder, image: ForeignImage) -> ImageRow:
    """Put the file of an image into the file store and make its row.

    A row that the pool has is returned instead, where converting changed the content hash: it
    rounds positions, and NIfTI keeps fewer digits of them.
    """
    check_info(image.info)
    extension, digest, kept = _store(data, image)
    content = content_hash(kept)
    known = _row_of_content(data, content)
    if known is not None and known.missing_since is None:
        return known
    volume = replace(kept, kvp=image.volume.kvp, identifiers=image.volume.identifiers)
    kind = image_rows.upload_kind(f"image{extension}")
    origin = Origin("upload", kind, digest, digest, extension, digest)
    image_id = known.id if known is not None else _free_id(data, image, content)
    measured = image_rows.measure_volume(volume)
    return image_rows.image_row(image_id, measured, origin, image.info, now=data.now())


def _store(data: DataFolder, image: ForeignImage) -> tuple[str, str, Volume]:
    """Return ending and hash of the stored file, and the volume read back from it."""
    own = _own_extension(image.file)
    extension = own or CONVERTED_EXTENSION
    received = images.incoming_folder(data.settings) / f"{secrets.token_hex(8)}{extension}"
    try:
        if image.file is not None and own:
            shutil.copyfile(image.file, received)
        else:
            write_volume(received, image.volume)
        kept = read_volume_file(received)
        is_equal = np.array_equal(kept.hu, image.volume.hu)
        if not is_equal or not same_grid(kept.grid, image.volume.grid):
            raise ImagingError("the image changed while it was read")
        return extension, data.files.put_file(received, extension), kept
    finally:
        received.unlink(missing_ok=True)


def _own_extension(file: Path | None) -> str:
    """Return the ending of a file that can be kept as it is, else nothing."""
    if file is None or file_kind(file) is None or file.suffix.lower() in (".nhdr", ".mhd"):
        return ""
    return ".nii.gz" if file.name.lower().endswith(".nii.gz") else file.suffix.lower()


def _free_id(data: DataFolder, image: ForeignImage, content: str) -> str:
    image_id = safe_id(image.name, image.name)
    with data.database.reading() as session:
        is_taken = session.get(ImageRow, image_id) is not None
    if not is_taken:
        return image_id
    if image.is_name_unique:
        raise ConflictError(f"image {image_id} exists with other content")
    return distinct_id(image.name, content)


def _keep_image(session: Session, row: ImageRow, *, now: float) -> bool:
    """Insert the row of a new image, or bring back one whose files were gone."""
    existing = session.get(ImageRow, row.id)
    if existing is not None and existing.content_sha256 != row.content_sha256:
        raise ConflictError(f"image {row.id} exists with other content")
    if existing is not None and existing.missing_since is None:
        return False
    session.merge(row)
    session.flush()
    audit.record(session, ACTOR, "import image", row.id, {"name": row.name}, now=now)
    return True


def _prepare(
    data: DataFolder, row: ImageRow, label: ForeignLabel | None
) -> tuple[Submission, ReadyLabel] | None:
    """Check and score a label that is new."""
    with data.database.reading() as session:
        if label is None or _has_label(session, row.id):
            return None
        prediction = inference.find_prediction(session, row.id)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "label.nrrd"
        write_label_map(path, label.mask, grid_of(row), compress=True, names=CALCIUM_LABELS)
        content = path.read_bytes()
    submission = Submission(row.id, content, path.name, label.info, label.annotator)
    checked = check_label(content, file_name=path.name, params=label.info, grid=grid_of(row))
    scores = score_label(data.settings, data.files, row, checked, prediction)
    return submission, ReadyLabel(checked, scores)


def _keep_label(
    data: DataFolder, session: Session, image_id: str, new: tuple[Submission, ReadyLabel] | None
) -> int:
    if new is None or _has_label(session, image_id):
        return 0
    keep(session, data.files, data.settings, *new, now=data.now())
    return 1


def _has_label(session: Session, image_id: str) -> bool:
    """Tell whether an image has, or had, a final label."""
    wanted = select(LabelRow.id).where(LabelRow.image_id == image_id, LabelRow.tag == FINAL_TAG)
    return session.scalars(wanted.limit(1)).first() is not None


def _keep_reference(row: ImageRow, reference: Json) -> bool:
    """Add what the info of an image does not have; what it has stays."""
    new = {key: value for key, value in reference.items() if key not in row.info}
    if new:
        row.info = {**row.info, **new}
    return bool(new)
