"""A label map as a DICOM segmentation, so that any viewer of the hospital shows it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import highdicom
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from app.calcium.labels import CALCIUM_LABELS, LABELS
from app.errors import ImagingError, LabelError
from app.imaging.dicom.derivation import (
    ABNORMAL_STRUCTURE,
    ANATOMICAL_STRUCTURE,
    ARTERY_CODES,
    CALCIFICATION,
    MANUFACTURER,
    Derivation,
    equipment,
    read_sources,
    to_bytes,
    tolerating_sources,
)
from app.imaging.dicom.header import quiet_pydicom
from app.imaging.parsing import PARSER_ERRORS

_SERIES_NUMBER: Final = 9001
"""Series number, above what scanners give to their own series of a study."""

_REGION: Final = "_region"
"""Ending of the names of region labels."""


def write_segmentation(
    series_files: Sequence[Path], label: NDArray[np.uint8], derivation: Derivation
) -> bytes:
    """Write a label map as a DICOM segmentation, one binary segment per label with voxels.

    The segmentation refers to every instance of the series and holds the patient and study
    of the series, and nothing else about a person. Written twice it is the same file.

    Regions of a label that covers calcium and has none come with a segment without frames for
    each artery: without it a reader could not tell no calcium from nothing said about it. A
    label that covers calcium and has no voxels at all has the same segments, with an empty
    frame on the slice in the middle: DICOM knows no segmentation without frames.

    Args:
        series_files: Files of the series, in any order.
        label: Canonical values on the grid of the series, shape (Z, Y, X), slices in the
            order of its volume.
        derivation: How the label came about.

    Returns:
        The file.

    Raises:
        LabelError: If the label has no voxels and does not cover calcium, or has another shape
            than the series.
        ImagingError: If the series cannot be read, or its headers contradict each other.
    """
    values = _values(label, covers_calcium=derivation.covers_calcium)
    sources = read_sources(series_files)
    expected = (len(sources), int(sources[0].Rows), int(sources[0].Columns))
    if label.shape != expected:
        raise LabelError(f"expected a label of the shape {expected}, got {label.shape}")
    numbers = np.zeros(max(LABELS.values()) + 1, np.uint8)
    numbers[list(values.values())] = np.arange(1, len(values) + 1)
    if not label.any():
        middle = slice(len(sources) // 2, len(sources) // 2 + 1)
        sources, label = sources[middle], label[middle]
    with quiet_pydicom(), tolerating_sources():
        try:
            made = _segmentation(sources, numbers[label], list(values), derivation)
            return to_bytes(made, derivation.made_at)
        except PARSER_ERRORS as error:
            raise ImagingError("the headers of the series allow no segmentation of it") from error


def _values(label: NDArray[np.uint8], *, covers_calcium: bool) -> dict[str, int]:
    """Return the labels that get a segment by name, in canonical order."""
    present = set(np.flatnonzero(np.bincount(label.ravel())).tolist()) - {0}
    if not present and not covers_calcium:
        raise LabelError("expected a label with voxels, got an empty one")
    if max(present, default=0) > max(LABELS.values()):
        raise LabelError(
            f"expected label values from 0 to {max(LABELS.values())}, got {max(present)}"
        )
    if covers_calcium and present.isdisjoint(CALCIUM_LABELS.values()):
        present |= set(CALCIUM_LABELS.values())
    return {name: value for name, value in LABELS.items() if value in present}


def _segmentation(
    sources: Sequence[pydicom.Dataset],
    numbers: NDArray[np.uint8],
    names: Sequence[str],
    derivation: Derivation,
) -> pydicom.Dataset:
    made: pydicom.Dataset = highdicom.seg.Segmentation(
        source_images=sources,
        pixel_array=numbers,
        omit_empty_frames=bool(numbers.any()),
        segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[
            _description(name, number, derivation) for number, name in enumerate(names, start=1)
        ],
        series_instance_uid=derivation.uid("segmentation series"),
        series_number=_SERIES_NUMBER,
        sop_instance_uid=derivation.segmentation_uid,
        instance_number=1,
        content_label="CALCIUM",
        content_description="Coronary artery calcium by artery",
        series_description="Coronary calcium segmentation",
        **equipment(),
    )
    _fix_dimensions(made, derivation)
    return made


def _description(name: str, number: int, derivation: Derivation) -> Any:
    artery = ARTERY_CODES[name.removesuffix(_REGION)]
    is_region = name.endswith(_REGION)
    return highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=name,
        segmented_property_category=ANATOMICAL_STRUCTURE if is_region else ABNORMAL_STRUCTURE,
        segmented_property_type=artery if is_region else CALCIFICATION,
        anatomic_regions=[artery],
        tracking_id=name,
        tracking_uid=derivation.tracking_uid(name),
        **_algorithm(derivation),
    )


def _algorithm(derivation: Derivation) -> dict[str, Any]:
    if derivation.algorithm is None:
        return {"algorithm_type": highdicom.seg.SegmentAlgorithmTypeValues.MANUAL}
    family: Code = codes.DCM.ArtificialIntelligence
    return {
        "algorithm_type": highdicom.seg.SegmentAlgorithmTypeValues.SEMIAUTOMATIC,
        "algorithm_identification": highdicom.AlgorithmIdentificationSequence(
            name=derivation.algorithm.name,
            family=family,
            version=derivation.algorithm.version,
            source=MANUFACTURER,
        ),
    }


def _fix_dimensions(made: pydicom.Dataset, derivation: Derivation) -> None:
    """Replace the one UID that would be another one each time."""
    uid = derivation.uid("dimensions")
    for item in [*made.DimensionOrganizationSequence, *made.DimensionIndexSequence]:
        item.DimensionOrganizationUID = uid
