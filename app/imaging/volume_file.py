"""Volumes in one file: NIfTI, NRRD and MetaImage."""

import re
from pathlib import Path
from typing import Final, Literal

from app.errors import ImagingError
from app.imaging import itk, nifti
from app.imaging.plausibility import (
    MAX_VOXELS,
    check_kvp,
    check_shape,
    collect_hounsfield,
    to_hounsfield,
)
from app.imaging.volume import Volume

ImageKind = Literal["dicom", "nifti", "nrrd", "metaimage"]
"""The format that an image is stored in."""

_KINDS: Final[dict[str, ImageKind]] = {
    ".nii": "nifti",
    ".nii.gz": "nifti",
    ".nrrd": "nrrd",
    ".nhdr": "nrrd",
    ".mha": "metaimage",
    ".mhd": "metaimage",
}
"""File endings of volumes."""

KVP_KEY: Final = "kvp"
"""Key of the tube voltage in the free text of NIfTI and the fields of NRRD.

Neither format has a place of its own for it, and the calcium threshold depends on it.
"""

_KVP_TEXT: Final = re.compile(rf"\b{KVP_KEY}=(\d+(?:\.\d+)?)")


def file_kind(path: Path) -> ImageKind | None:
    """Tell the format of a volume by the ending of its name, None for other files."""
    name = path.name.lower()
    return next((kind for ending, kind in _KINDS.items() if name.endswith(ending)), None)


def check_volume_file(path: Path) -> None:
    """Check the header of a volume file without reading its voxels.

    Raises:
        ImagingError: If it cannot be trusted.
    """
    if file_kind(path) == "nifti":
        nifti.read_header(path)
    elif itk.read_header(path).components != 1:
        raise ImagingError("expected one value per voxel")


def read_volume_file(path: Path, *, max_voxels: int = MAX_VOXELS) -> Volume:
    """Read a CT volume from a NIfTI, NRRD or MetaImage file.

    Args:
        path: The file.
        max_voxels: Most voxels that are decoded; a header that promises more is refused.

    Raises:
        ImagingError: If it cannot be trusted.
    """
    if file_kind(path) is None:
        raise ImagingError("expected an image as DICOM, NIfTI, NRRD or MetaImage")
    if path.stat().st_size == 0:
        raise ImagingError("the file is empty")
    read = _read_nifti if file_kind(path) == "nifti" else _read_itk
    return read(path, max_voxels)


def _read_nifti(path: Path, max_voxels: int) -> Volume:
    header = nifti.read_header(path)
    check_shape(header.grid.shape, max_voxels)
    found = _KVP_TEXT.search(header.description)
    kvp = _kvp(found[1] if found else "")
    hu = collect_hounsfield(nifti.read_portions(path, header), header.grid.shape)
    return Volume(hu, header.grid, kvp)


def _read_itk(path: Path, max_voxels: int) -> Volume:
    check_volume_file(path)
    image = itk.read_header(path)
    check_shape(image.grid.shape, max_voxels)
    kvp = _kvp(image.metadata.get(KVP_KEY, ""))
    return Volume(to_hounsfield(itk.read_values(image)), image.grid, kvp)


def _kvp(text: str) -> float | None:
    if not text:
        return None
    try:
        kvp = float(text)
    except ValueError:
        raise ImagingError(f"expected a tube voltage in kV, got {text[:20]!r}") from None
    check_kvp(kvp)
    return kvp
