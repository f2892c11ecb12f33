"""A stored label map in the format a client asked for, on the grid of the image's file."""

import secrets
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from app.calcium.labels import CALCIUM_LABELS, LABELS
from app.imaging.labelmap import read_label_map, write_label_map
from app.imaging.volume import Grid
from server.wire.catalog import INFER_OPTIONS, WITH_REGIONS
from server.wire.options import Options, read_options

_EXTENSIONS: Final = (".nrrd", ".nii.gz", ".nii")
"""Formats of a mask; the first is the default."""

_FORMAT_OPTIONS: Final[Options] = {"result_extension": list(_EXTENSIONS), "result_compress": False}


@dataclass(frozen=True)
class MaskFormat:
    """How a client wants a mask.

    Attributes:
        extension: ``.nrrd``, ``.nii.gz`` or ``.nii``.
        compress: Whether a NRRD is gzipped; OHIF prefers it raw.
        with_regions: Whether the artery regions are in it beside the calcium.
    """

    extension: str
    compress: bool
    with_regions: bool

    @property
    def label_names(self) -> dict[str, int]:
        """Names and values of the labels in the mask, contiguous from 1."""
        return dict(LABELS if self.with_regions else CALCIUM_LABELS)


def read_mask_format(given: Mapping[str, JsonValue]) -> MaskFormat:
    """Read the wishes of a client; voxels are always uint8.

    Raises:
        InvalidInputError: If one cannot be fulfilled.
    """
    wished = read_options({**INFER_OPTIONS, **_FORMAT_OPTIONS}, given)
    return MaskFormat(
        extension=str(wished["result_extension"]),
        compress=wished["result_compress"] is True,
        with_regions=wished["structures"] == WITH_REGIONS,
    )


def render_mask(stored: Path, wished: MaskFormat) -> bytes:
    """Return the file of a canonical label map in the format a client wants."""
    label = read_label_map(stored)
    values = label.array.astype(np.uint8)
    if not wished.with_regions:
        values[values > max(CALCIUM_LABELS.values())] = 0
    return encode_mask(values, label.grid, wished)


def encode_mask(values: NDArray[np.uint8], grid: Grid, wished: MaskFormat) -> bytes:
    """Return the file of a label map, shape (Z, Y, X), on the grid of the image's file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"mask{wished.extension}"
        write_label_map(path, values, grid, compress=wished.compress)
        return path.read_bytes()


def mask_name(wished: MaskFormat) -> str:
    """Return a new bare file name; clients keep masks of several images in one folder."""
    return f"caclabel_{secrets.token_hex(8)}{wished.extension}"
