"""Small CT volumes, labels and files for everybody's tests."""

import itertools
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import SimpleITK
from numpy.typing import NDArray

from app.imaging.dicom.writer import write_series
from app.imaging.volume import Grid, Identifiers, Volume

SHAPE = (5, 6, 7)
"""Default array shape (Z, Y, X), different along each axis so that mixed-up axes show."""

SPACING_MM = (3.0, 0.5, 0.75)
"""Default voxel spacing along (Z, Y, X)."""

ORIGIN_MM = (-60.5, -110.25, 42.0)
"""Default centre of the first voxel in LPS."""

ORIENTATIONS = tuple(
    np.diag(signs)[:, order].astype(np.float64)
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
)
"""The 48 ways in which index axes (x, y, z) can follow patient axes; columns are directions."""

AXIAL_ORIENTATIONS = tuple(matrix for matrix in ORIENTATIONS if abs(matrix[2, 2]) == 1)
"""The 16 of them whose z index runs along the body."""


def make_grid(
    shape: tuple[int, int, int] = SHAPE,
    *,
    spacing_mm: tuple[float, float, float] = SPACING_MM,
    origin_mm: tuple[float, float, float] = ORIGIN_MM,
    directions: NDArray[np.float64] | None = None,
) -> Grid:
    """Make a grid; without directions it is axial."""
    affine = np.eye(4)
    linear = np.eye(3) if directions is None else directions
    affine[:3, :3] = linear * spacing_mm[::-1]
    affine[:3, 3] = origin_mm
    return Grid(shape, affine)


def make_volume(
    grid: Grid | None = None,
    *,
    seed: int = 0,
    kvp: float | None = 120.0,
    patient_id: str = "patient-1",
) -> Volume:
    """Make a volume of noise between air and metal in which all voxels can be told apart."""
    grid = grid or make_grid()
    rng = np.random.default_rng(seed)
    hu = rng.integers(-1024, 3072, grid.shape, dtype=np.int16)
    return Volume(hu, grid, kvp, Identifiers(patient_id=patient_id))


def make_labels(
    shape: tuple[int, int, int] = SHAPE, *, seed: int = 0, values: int = 8
) -> NDArray[np.uint8]:
    """Make a label map with values from 0 to ``values``."""
    return np.random.default_rng(seed).integers(0, values + 1, shape, dtype=np.uint8)


def write_dicom(folder: Path, volume: Volume | None = None) -> list[Path]:
    """Write a volume as DICOM series; the files come in the order of the slices."""
    return list(write_series(folder, volume or make_volume()))


def edit_dicom(path: Path, **elements: Any) -> None:
    """Set elements of a DICOM file, unchecked; None deletes one."""
    with pydicom.config.disable_value_validation():
        dataset = pydicom.dcmread(path)
        for name, value in elements.items():
            if value is None:
                del dataset[name]
            else:
                setattr(dataset, name, value)
        dataset.save_as(path)


def write_nifti(path: Path, array: NDArray[Any], grid: Grid) -> Path:
    """Write an array (Z, Y, X) by nibabel, the way other programs do."""
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ grid.affine
    nibabel.save(nibabel.Nifti1Image(array.transpose(2, 1, 0), affine), path)
    return path


def write_itk(path: Path, array: NDArray[Any], grid: Grid) -> Path:
    """Write an array (Z, Y, X) by SimpleITK in the format of the name."""
    SimpleITK.WriteImage(to_itk(array, grid), str(path))
    return path


def to_itk(array: NDArray[Any], grid: Grid) -> SimpleITK.Image:
    """Make a SimpleITK image of an array (Z, Y, X) on a grid."""
    image = SimpleITK.GetImageFromArray(array)
    spacing = np.linalg.norm(grid.affine[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(grid.affine[:3, 3].tolist())
    image.SetDirection((grid.affine[:3, :3] / spacing).ravel().tolist())
    return image
