"""Volumes as memory maps: decoded once, then read in milliseconds."""

from dataclasses import dataclass
from io import BytesIO

import numpy as np
from numpy.typing import NDArray

from app import images
from app.calcium.candidates import threshold_hu
from app.imaging.geometry import match_label_to_grid
from app.imaging.labelmap import read_label_map
from app.imaging.orientation import to_axial
from app.imaging.volume import Grid, Volume
from app.settings import Settings
from app.store.cache import mark_used
from app.store.files import FileStore, write_durably
from app.store.tables import ImageRow

LABEL_EXTENSION = ".nrrd"
"""Format of every canonical label map in the file store."""


@dataclass(frozen=True, eq=False)
class AxialImage:
    """An image in axial orientation, ready for scoring and for a network.

    Attributes:
        hu: Hounsfield units, shape (Z, Y, X), perhaps a read-only memory map.
        grid: Place of the axial voxels.
        stored: Place of the voxels in the order of the image's own file.
        kvp: Peak tube voltage in kV, or None.
    """

    hu: NDArray[np.int16]
    grid: Grid
    stored: Grid
    kvp: float | None

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between voxel centres along (Z, Y, X), in millimetres."""
        return self.grid.spacing_mm

    @property
    def threshold_hu(self) -> int:
        """Candidates for calcium have at least so many HU."""
        return threshold_hu(self.kvp)


def axial_image(volume: Volume) -> AxialImage:
    """Turn a volume into axial orientation."""
    hu, grid = to_axial(volume.hu, volume.grid)
    return AxialImage(hu, grid, volume.grid, volume.kvp)


def load_image(settings: Settings, files: FileStore, row: ImageRow) -> AxialImage:
    """Return an image of the pool, decoding and checking its files only the first time."""
    path = settings.cache / "arrays" / f"{row.content_sha256}.npy"
    if not mark_used(path):
        image = axial_image(images.open_volume(settings, files, row))
        write_durably(path, _npy(image.hu))
    hu = np.load(path, mmap_mode="r")
    stored = images.grid_of(row)
    # Only the grid is wanted: a stride trick stands in for the voxels.
    _, grid = to_axial(np.broadcast_to(np.int16(0), stored.shape), stored)
    return AxialImage(hu, grid, stored, row.kvp)


def load_label(files: FileStore, image: AxialImage, sha256: str) -> NDArray[np.uint8]:
    """Return a stored label map in axial orientation, canonical values, shape (Z, Y, X)."""
    label = read_label_map(files.path(sha256, LABEL_EXTENSION))
    matched = match_label_to_grid(label, image.stored)
    axial, _ = to_axial(matched.array.astype(np.uint8), image.stored)
    return axial


def _npy(array: NDArray[np.int16]) -> bytes:
    buffer = BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()
