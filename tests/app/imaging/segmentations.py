"""Labels as DICOM segmentations, by our own writer and the way other programs write them."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.pixels.utils import pack_bits
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from app.imaging.dicom.derivation import Derivation
from app.imaging.dicom.segmentation_reader import read_segmentation
from app.imaging.volume import Grid
from app.intake.label_names import numbering, renumber
from tests.factories import make_grid

DERIVATION = Derivation("a seed", 1_700_000_000.0)
"""How the label of a test came about."""

GRID = make_grid()
"""Where the series lies that ``write_dicom`` writes."""


def canonical(content: bytes, grid: Grid) -> NDArray[np.uint8]:
    """Read a segmentation on a grid and give its voxels the canonical values."""
    label = read_segmentation(content).on_grid(grid)
    return renumber(label, numbering(label, []))


def edited(content: bytes, edit: Any) -> bytes:
    """Return a DICOM file after ``edit`` changed its data set."""
    dataset = pydicom.dcmread(BytesIO(content))
    with pydicom.config.disable_value_validation():
        edit(dataset)
        buffer = BytesIO()
        dataset.save_as(buffer)
    return buffer.getvalue()


def reorder_frames(content: bytes, order: Sequence[int]) -> bytes:
    """Put the frames of a binary segmentation into another order."""

    def edit(dataset: pydicom.Dataset) -> None:
        frames = dataset.pixel_array
        groups = list(dataset.PerFrameFunctionalGroupsSequence)
        dataset.PixelData = pack_bits(frames[list(order)])
        dataset.PerFrameFunctionalGroupsSequence = [groups[index] for index in order]

    return edited(content, edit)


def foreign_segmentation(
    files: Sequence[Path],
    pixels: NDArray[Any],
    names: Sequence[str],
    *,
    kind: str = "BINARY",
    regions: Sequence[Code] = (),
    category: Code = codes.SCT.Tissue,
    sop_instance_uid: str = "",
    **more: Any,
) -> bytes:
    """Write a segmentation as a program does that knows nothing of our labels.

    Args:
        files: Slices of the series, in the order of ``pixels``.
        pixels: As highdicom takes them: (Z, Y, X) or (Z, Y, X, segments).
        names: Names of the segments.
        kind: BINARY, FRACTIONAL or LABELMAP.
        regions: Anatomic region of each segment.
        category: Category of every segment.
        sop_instance_uid: Its SOPInstanceUID; a new one when empty.
        more: Further arguments of highdicom.
    """
    described = [
        highdicom.seg.SegmentDescription(
            segment_number=number,
            segment_label=name,
            segmented_property_category=category,
            segmented_property_type=codes.SCT.Tissue,
            algorithm_type="MANUAL",
            anatomic_regions=[regions[number - 1]] if regions else None,
        )
        for number, name in enumerate(names, start=1)
    ]
    made = highdicom.seg.Segmentation(
        source_images=[pydicom.dcmread(path) for path in files],
        pixel_array=pixels,
        segmentation_type=kind,
        segment_descriptions=described,
        series_instance_uid=highdicom.UID(),
        series_number=2,
        sop_instance_uid=sop_instance_uid or highdicom.UID(),
        instance_number=1,
        manufacturer="other",
        manufacturer_model_name="other",
        software_versions="1",
        device_serial_number="1",
        **more,
    )
    buffer = BytesIO()
    made.save_as(buffer)
    return buffer.getvalue()
