"""Volumes as files."""

from pathlib import Path

from app.errors import ImagingError
from app.imaging import itk, nifti
from app.imaging.volume import Volume
from app.imaging.volume_file import KVP_KEY, file_kind


def write_volume(path: Path, volume: Volume) -> None:
    """Write a volume in the format of the ending of ``path``.

    The tube voltage is kept; identifiers are not, so that nothing about the patient leaks.

    Args:
        path: File to write, ending in ``.nii``, ``.nii.gz`` (gzip level 1) or ``.nrrd`` (raw).
        volume: Volume to write.

    Raises:
        ImagingError: If the ending is none of these.
    """
    kvp = f"{volume.kvp:g}" if volume.kvp else ""
    kind = file_kind(path)
    if kind == "nifti":
        nifti.write(path, volume.hu, volume.grid, f"{KVP_KEY}={kvp}" if kvp else "")
    elif kind == "nrrd":
        metadata = {KVP_KEY: kvp} if kvp else {}
        itk.write(path, volume.hu, volume.grid, compress=False, metadata=metadata)
    else:
        raise ImagingError(f"expected a name ending in .nii, .nii.gz or .nrrd, got {path.suffix!r}")
