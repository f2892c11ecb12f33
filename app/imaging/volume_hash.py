"""A name for what a volume shows, whatever file it came from."""

import hashlib
from typing import Final

import numpy as np

from app.imaging.volume import Volume

_AFFINE_DECIMALS: Final = 3
"""Micrometres; NIfTI keeps offsets as float32, which is exact to about 0.00003 mm."""


def content_hash(volume: Volume) -> str:
    """Compute the SHA-256 over shape, affine and voxels, as hex digits.

    Identifiers and tube voltage take no part: copies of a volume under other names are equal.
    """
    digest = hashlib.sha256()
    digest.update(np.asarray(volume.hu.shape, dtype="<i8").tobytes())
    # Adding zero turns the -0.0 of a rounded affine into 0.0.
    rounded = np.round(volume.grid.affine, _AFFINE_DECIMALS) + 0.0
    digest.update(rounded.astype("<f8").tobytes())
    digest.update(np.ascontiguousarray(volume.hu, dtype="<i2").data)
    return digest.hexdigest()
