"""Volumes as memory maps: decoded once, then read in milliseconds.

Concurrency: any thread of any process. An array lies under the hash of its content and is
renamed into place whole, so two that decode the same image at once write the same file.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.calcium.candidates import threshold_hu
from app.imaging.geometry import match_label_to_grid
from app.imaging.labelmap import read_label_map
from app.imaging.orientation import to_axial
from app.imaging.volume import Grid, Volume
from app.intake import image_rows
from app.settings import Settings
from app.store.cache import mark_used
from app.store.files import FileStore, write_durably_by
from app.store.tables import ImageRow

logger = logging.getLogger(__name__)

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
    image = find_image(settings, row)
    if image is None:
        image = decode_image(settings, files, row)
        keep_image(settings, row, image)
    return image


def find_image(settings: Settings, row: ImageRow) -> AxialImage | None:
    """Return an image whose array is kept, None where it has to be decoded."""
    path = array_path(settings, row)
    if not mark_used(path):
        return None
    stored = image_rows.grid_of(row)
    # Only the grid is wanted: a stride trick stands in for the voxels.
    _, grid = to_axial(np.broadcast_to(np.int16(0), stored.shape), stored)
    hu = _open_array(path, grid.shape)
    return None if hu is None else AxialImage(hu, grid, stored, row.kvp)


def _open_array(path: Path, shape: tuple[int, int, int]) -> NDArray[np.int16] | None:
    """Return a kept array; one that is not whole is thrown away: it can be made again."""
    try:
        array: NDArray[np.int16] = np.load(path, mmap_mode="r")
        if array.shape == shape and array.dtype == np.int16:
            return array
    except (ValueError, EOFError):
        pass
    except FileNotFoundError:
        return None
    logger.warning("the array %s was damaged and is made anew", path.name)
    path.unlink(missing_ok=True)
    return None


def decode_image(settings: Settings, files: FileStore, row: ImageRow) -> AxialImage:
    """Decode the files of an image and check them; its array is not kept.

    Raises:
        NotFoundError: If its files are gone.
        ImagingError: If they show something else than when the image was registered.
        PacsError: If they have to be retrieved and the DICOMweb server does not give them.
    """
    return axial_image(image_rows.read_row(settings, files, row))


def keep_image(settings: Settings, row: ImageRow, image: AxialImage) -> None:
    """Keep the array of a decoded image for the next time; nothing if it is kept already.

    An image that could not be kept, as on a full disk, is decoded again the next time.
    """
    path = array_path(settings, row)
    if mark_used(path):
        return
    try:
        write_durably_by(path, lambda file: np.save(file, image.hu))
    except OSError as error:
        logger.warning("the array of an image was not kept: %s", error.strerror)


def is_kept(settings: Settings, row: ImageRow) -> bool:
    """Tell whether the array of an image is kept."""
    return array_path(settings, row).exists()


def array_path(settings: Settings, row: ImageRow) -> Path:
    """Return where the array of an image lies when it is kept."""
    return settings.cache / "arrays" / f"{row.content_sha256}.npy"


def load_label(files: FileStore, image: AxialImage, sha256: str) -> NDArray[np.uint8]:
    """Return a stored label map in axial orientation, canonical values, shape (Z, Y, X)."""
    label = read_label_map(files.path(sha256, LABEL_EXTENSION))
    matched = match_label_to_grid(label, image.stored)
    axial, _ = to_axial(matched.array.astype(np.uint8), image.stored)
    return axial
