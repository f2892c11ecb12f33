"""One DICOM slice sent after the volume it was made from: a reference, not an image.

3D Slicer's "Include DICOM files" uploads the volume as NIfTI or NRRD and then the first slice
of its series under an id of its own. The slice says which series the volume is; taken as an
image it would be offered for labeling.
"""

from pathlib import Path
from typing import Final

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from app import audit
from app.errors import ImagingError
from app.imaging.dicom.header import SliceHeader, read_instance
from app.imaging.volume import Grid
from app.intake.image_rows import grid_of
from app.intake.pool import is_available
from app.store.tables import ImageRow, Json

EXTENSION: Final = ".dcm"
"""Ending of such a file."""

KEY: Final = "dicom_reference"
"""Key of an image's info under which the series is kept."""

_LOOKED_AT: Final = 50
"""Newest uploads among which the volume is looked for; it came just before."""

_TOLERANCE: Final = 0.05
"""How far from a voxel's centre a corner pixel may lie, in voxels: NIfTI has 32-bit positions."""


def keep_reference(session: Session, path: Path, *, actor: str, now: float) -> ImageRow:
    """Note the series of a slice with the newest upload whose voxels lie where the slice does.

    Args:
        session: Open transaction that may write.
        path: The received file.
        actor: Who sent it.
        now: Time of the upload.

    Returns:
        The image.

    Raises:
        ImagingError: If the slice cannot be read, or no upload holds it.
    """
    header = read_instance(path).slice
    uploads = select(ImageRow).where(is_available(), ImageRow.source == "upload")
    newest = session.scalars(uploads.order_by(ImageRow.registered_at.desc()).limit(_LOOKED_AT))
    found = next((row for row in newest if header and _holds(grid_of(row), header)), None)
    if header is None or found is None:
        raise ImagingError(
            "expected a volume: a single DICOM slice belongs to no uploaded image; "
            "send the series as one NIfTI or NRRD file"
        )
    series: Json = {
        "StudyInstanceUID": header.identifiers.study_uid,
        "SeriesInstanceUID": header.identifiers.series_uid,
        "SOPInstanceUID": header.sop_uid,
    }
    found.info = {**found.info, KEY: series}
    audit.record(session, actor, "refer to series", found.id, series, now=now)
    return found


def _holds(grid: Grid, header: SliceHeader) -> bool:
    """Tell whether the corners of a slice are the corners of a plane of voxels."""
    first = np.asarray(header.position_mm)
    row_mm, column_mm = header.spacing_mm
    along_row = np.asarray(header.row_direction) * column_mm * (header.columns - 1)
    along_column = np.asarray(header.column_direction) * row_mm * (header.rows - 1)
    corners = np.stack([first, first + along_row, first + along_column])
    inverse = np.linalg.inv(grid.affine)
    index = corners @ inverse[:3, :3].T + inverse[:3, 3]
    last = np.asarray(grid.shape[::-1]) - 1
    whole = np.rint(index)
    if np.abs(index - whole).max() > _TOLERANCE or (whole < 0).any() or (whole > last).any():
        return False
    # Both sides of the slice run along a whole axis of the grid, each along its own.
    sides = np.abs(whole[1:] - whole[0])
    is_whole = (sides == last) & (last > 0)
    return bool((is_whole.sum(axis=1) == 1).all() and (np.count_nonzero(sides, axis=1) == 1).all())
