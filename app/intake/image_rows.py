"""Rows of images made from volumes, and back to the files they came from."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.errors import ImagingError, NotFoundError
from app.imaging.artefacts import measure_artefacts
from app.imaging.itk_header import is_detached
from app.imaging.scan import Finding, find_images, read_finding
from app.imaging.volume import Grid, Volume
from app.imaging.volume_file import ImageKind, file_kind, read_volume_file
from app.imaging.volume_hash import content_hash
from app.pacs import retrieval
from app.settings import Settings
from app.store.files import FileStore, write_durably
from app.store.tables import ImageRow, Json

CONVERTED_EXTENSION = ".nii.gz"
"""Format in which clients get images whose own files cannot be sent as one."""


@dataclass(frozen=True)
class Origin:
    """Where a volume came from.

    Attributes:
        source: ``studies``, ``upload`` or ``dicomweb``.
        kind: Format.
        path: Relative to the studies folder; SHA-256 in the file store for uploads; study and
            series, with a slash between them, on a DICOMweb server.
        signature: Changes whenever a file of the image changes.
        extension: Ending of the file that clients get.
        file_sha256: SHA-256 of that file; empty while it has not been made.
    """

    source: str
    kind: ImageKind
    path: str
    signature: str
    extension: str
    file_sha256: str = ""


@dataclass(frozen=True)
class MeasuredVolume:
    """A checked volume with what takes up to a second to find out; no transaction waits for it.

    Attributes:
        volume: The volume.
        content_sha256: Its content hash.
        noise_sd_hu: Standard deviation of its noise in HU, None where nothing tells.
        metal_mm3: Volume of metal in it.
    """

    volume: Volume
    content_sha256: str
    noise_sd_hu: float | None
    metal_mm3: float


def measure_volume(volume: Volume) -> MeasuredVolume:
    """Hash a checked volume and look for what spoils it."""
    return MeasuredVolume(volume, content_hash(volume), *measure_artefacts(volume))


def image_row(
    image_id: str, measured: MeasuredVolume, origin: Origin, info: Json, *, now: float
) -> ImageRow:
    """Make the row of a volume."""
    volume, content = measured.volume, measured.content_sha256
    depth, height, width = volume.grid.shape
    return ImageRow(
        id=image_id,
        source=origin.source,
        kind=origin.kind,
        path=origin.path,
        name=f"{image_id}{origin.extension}",
        signature=origin.signature,
        content_sha256=content,
        file_sha256=origin.file_sha256,
        shape={"z": depth, "y": height, "x": width},
        affine=volume.grid.affine.tolist(),
        noise_sd_hu=measured.noise_sd_hu,
        metal_mm3=measured.metal_mm3,
        **header_facts(volume, content),
        info=info,
        registered_at=now,
        missing_since=None,
        removed_at=None,
    )


def header_facts(volume: Volume, content: str) -> Json:
    """Return the columns of a row that its content hash does not cover.

    An image that names no patient is grouped by its content, so that copies of it under
    several names are one patient: none of them validates what another one trained.

    Args:
        volume: Checked volume.
        content: Its content hash.
    """
    identifiers = volume.identifiers
    return {
        "kvp": volume.kvp,
        "patient_key": patient_key(identifiers.patient_id or content),
        "patient_id": identifiers.patient_id,
        "study_uid": identifiers.study_uid,
        "series_uid": identifiers.series_uid,
        "study_date": identifiers.study_date,
        "study_time": identifiers.study_time,
        "modality": identifiers.modality,
    }


def patient_key(patient: str) -> str:
    """Return the hash that groups the images of a patient, or of one content, naming neither."""
    return hashlib.sha256(patient.encode()).hexdigest()


def grid_of(row: ImageRow) -> Grid:
    """Return the grid of an image in the order of its own file."""
    shape = (int(row.shape["z"]), int(row.shape["y"]), int(row.shape["x"]))
    return Grid(shape, np.asarray(row.affine, dtype=np.float64))


def signature_of(files: Sequence[Path], root: Path) -> str:
    """Hash names, sizes and times of files; cheap, and different after any change of one.

    Raises:
        NotFoundError: If a file is gone.
    """
    digest = hashlib.sha256()
    for file in sorted(files):
        try:
            status = file.stat()
        except OSError:
            raise NotFoundError("a file of the image is gone from the studies folder") from None
        entry = f"{file.relative_to(root)}\0{status.st_size}\0{status.st_mtime_ns}\0"
        digest.update(entry.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def studies_folder(settings: Settings) -> Path:
    """Return the studies folder.

    Raises:
        NotFoundError: If the deployment has none.
    """
    if settings.studies_folder is None:
        raise NotFoundError("this server has no studies folder")
    return settings.studies_folder


def remember_files(settings: Settings, finding: Finding, signature: str) -> None:
    """Note the files of a series, so that opening it needs no search."""
    if finding.kind == "dicom":
        root = studies_folder(settings)
        names = [str(file.relative_to(root)) for file in finding.files]
        write_durably(_files_path(settings, signature), json.dumps(names).encode())


def read_row(settings: Settings, files: FileStore, row: ImageRow) -> Volume:
    """Decode the volume of a row.

    Raises:
        NotFoundError: If its files are gone.
        ImagingError: If they cannot be trusted, or show something else than at registration:
            labels made on the first content must never meet another.
        PacsError: If they have to be retrieved and the DICOMweb server does not give them.
    """
    try:
        return _read_unchanged(settings, files, row)
    except ImagingError:
        if row.source != retrieval.SOURCE:
            raise
    # The copy in the cache may be damaged or old; what the server has decides.
    retrieval.discard(settings, row.series_uid)
    return _read_unchanged(settings, files, row)


def row_file(settings: Settings, files: FileStore, row: ImageRow) -> Path:
    """Return the one file of an image that is not DICOM.

    Raises:
        NotFoundError: If it is gone.
    """
    if row.source == "upload":
        return files.path(row.path, row.name.removeprefix(row.id))
    path = studies_folder(settings) / row.path
    if not path.is_file():
        raise NotFoundError(f"the file of image {row.id} is gone from the studies folder")
    return path


def row_finding(settings: Settings, row: ImageRow) -> Finding:
    """Find the files of a DICOM series again.

    Raises:
        NotFoundError: If they are gone.
        PacsError: If they have to be retrieved and the DICOMweb server does not give them.
    """
    if row.source == retrieval.SOURCE:
        paths = retrieval.local_files(settings, row)
        return Finding(paths[0].parent, paths, "dicom", row.series_uid)
    root = studies_folder(settings)
    paths = _noted_files(settings, row)
    if paths and all(path.is_file() for path in paths):
        return Finding(root / row.path, paths, "dicom", row.series_uid)
    for finding in find_images(root / row.path):
        if finding.series_uid == row.series_uid and finding.problem is None:
            return finding
    raise NotFoundError(f"the files of image {row.id} are gone from the studies folder")


def has_its_files(settings: Settings, row: ImageRow) -> bool:
    """Tell whether the files a series was registered with are unchanged, whatever came to them."""
    paths = _noted_files(settings, row)
    try:
        return bool(paths) and signature_of(paths, studies_folder(settings)) == row.signature
    except NotFoundError:
        return False


def upload_kind(name: str) -> ImageKind:
    """Return the format of an uploaded file.

    Raises:
        ImagingError: If it is none that is one file and holds a volume.
    """
    kind = file_kind(Path(name))
    if kind is None or is_detached(Path(name)):
        raise ImagingError("expected an image ending in .nii, .nii.gz, .nrrd or .mha")
    return kind


def served_extension(finding: Finding) -> str:
    """Return the ending of the file that clients get of a finding."""
    name = finding.path.name.lower()
    if finding.kind == "dicom" or is_detached(finding.path):
        return CONVERTED_EXTENSION
    return ".nii.gz" if name.endswith(".nii.gz") else Path(name).suffix


def _read_unchanged(settings: Settings, files: FileStore, row: ImageRow) -> Volume:
    volume = read_volume_file(row_file(settings, files, row)) if row.kind != "dicom" else None
    volume = volume or read_finding(row_finding(settings, row))
    if content_hash(volume) == row.content_sha256:
        return volume
    if row.source == retrieval.SOURCE:
        raise ImagingError(
            f"the series of image {row.id} changed on the DICOMweb server since it was registered"
        )
    raise ImagingError(
        f"the files of image {row.id} changed since it was registered; "
        "put them back, or add the new ones under another name"
    )


def _noted_files(settings: Settings, row: ImageRow) -> tuple[Path, ...]:
    """Return the files noted by ``remember_files``; none when the note is gone."""
    noted = _files_path(settings, row.signature)
    if row.kind != "dicom" or not noted.exists():
        return ()
    root = studies_folder(settings)
    return tuple(root / name for name in json.loads(noted.read_bytes()))


def _files_path(settings: Settings, signature: str) -> Path:
    return settings.cache / "series" / f"{signature}.json"
