"""One CT volume with its place in the patient."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Identifiers:
    """Who and what a volume shows, as far as its file says; never the patient's name.

    Attributes:
        patient_id: Identifier of the patient; empty when the file carries none.
        study_uid: DICOM StudyInstanceUID, or empty.
        series_uid: DICOM SeriesInstanceUID, or empty.
        study_date: ``YYYYMMDD``, or empty.
        study_time: ``HHMMSS``, or empty.
        modality: DICOM Modality, or empty.
    """

    patient_id: str = ""
    study_uid: str = ""
    series_uid: str = ""
    study_date: str = ""
    study_time: str = ""
    modality: str = ""


@dataclass(frozen=True)
class Grid:
    """Where the voxels of an array lie in the patient.

    Attributes:
        shape: Number of voxels along (Z, Y, X), the index order of the array.
        affine: Voxel index ``(x, y, z, 1)``, x fastest in memory, to millimetres in LPS
            (x to the patient's left, y to the back, z to the head), shape (4, 4).
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between voxel centres along (Z, Y, X), in millimetres."""
        x, y, z = (float(length) for length in np.linalg.norm(self.affine[:3, :3], axis=0))
        return z, y, x


@dataclass(frozen=True)
class Volume:
    """A CT volume that passed every check of its reader.

    Attributes:
        hu: Hounsfield units, shape (Z, Y, X), int16.
        grid: Place of the voxels; ``grid.shape == hu.shape``.
        kvp: Peak tube voltage in kV, or None when the file does not say.
        identifiers: Who and what the volume shows.
    """

    hu: NDArray[np.int16]
    grid: Grid
    kvp: float | None = None
    identifiers: Identifiers = field(default_factory=Identifiers)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between voxel centres along (Z, Y, X), in millimetres."""
        return self.grid.spacing_mm
