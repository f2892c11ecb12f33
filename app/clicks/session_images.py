"""Images of sessions for clicks that come one after the other.

A session lives an hour and its image never changes, so it is decoded once and kept in the
memory of the process: a click then takes milliseconds instead of a second. Any thread may
call this; two that come at once may both decode.
"""

from functools import lru_cache
from pathlib import Path

from app.arrays import AxialImage, axial_image
from app.imaging.reader import read_volume

_KEPT = 4
"""Images in memory at once; one of 512 x 512 x 57 voxels takes 30 MB."""


@lru_cache(maxsize=_KEPT)
def load_session_image(path: Path) -> AxialImage:
    """Return the image of a session in axial orientation.

    Args:
        path: Its file or folder, as ``sessions.image_path`` gives it; unique to the session.

    Raises:
        ImagingError: If its files are damaged.
    """
    return axial_image(read_volume(path))
