"""Any file or folder to one volume that can be trusted."""

from pathlib import Path

from app.errors import ImagingError
from app.imaging.plausibility import MAX_VOXELS
from app.imaging.scan import find_images, read_finding
from app.imaging.volume import Volume
from app.imaging.volume_file import read_volume_file


def read_volume(path: Path, *, max_voxels: int = MAX_VOXELS) -> Volume:
    """Read one CT volume from a file, or from a folder that holds exactly one image.

    Args:
        path: A NIfTI, NRRD or MetaImage file, or a folder with the slices of one DICOM series.
        max_voxels: Most voxels that are decoded.

    Returns:
        The volume on the grid as stored.

    Raises:
        ImagingError: If the image cannot be trusted; the message says why in one sentence.
    """
    if not path.exists():
        raise ImagingError("the image does not exist")
    if not path.is_dir():
        return read_volume_file(path, max_voxels=max_voxels)
    findings = find_images(path)
    if len(findings) != 1:
        raise ImagingError(f"expected one CT series in the folder, got {len(findings)}")
    return read_finding(findings[0], max_voxels=max_voxels)
