"""A submitted DICOM segmentation as a label map whose segments have canonical names."""

import re
from dataclasses import replace
from typing import Final

from app.errors import LabelError
from app.imaging.dicom.derivation import ANATOMICAL_STRUCTURE, ARTERY_CODES, CALCIFICATION
from app.imaging.dicom.segmentation_reader import SegmentInfo, read_segmentation
from app.imaging.labelmap import LabelMap
from app.imaging.volume import Grid
from app.intake.label_names import canonical_name, present_values

SEGMENTATION_EXTENSION: Final = ".dcm"
"""Ending of a DICOM file."""

_ANATOMY: Final = frozenset({ANATOMICAL_STRUCTURE.value, "T-D000A"})
"""Codes of the category anatomical structure, now and in the former SNOMED."""

_NAMELESS: Final = re.compile(r"(segment|segmentation|label|roi)?[\s_-]*\d*", re.IGNORECASE)
"""Names that viewers give by themselves, which say nothing."""

_REGION: Final = "_region"


def segmentation_label(content: bytes, grid: Grid, *, series_uid: str = "") -> LabelMap:
    """Read a DICOM segmentation onto the grid of its image, each segment under its label's name.

    A segment is known by its name, or by its codes where the name says nothing. Segments
    without pixels that are no label are left out.

    Args:
        content: The DICOM file.
        grid: Grid of the image.
        series_uid: SeriesInstanceUID of the image, empty when it has none.

    Raises:
        LabelError: If it is no segmentation, refers to another series, does not lie on the
            grid, or has pixels of a segment that is no label, or whose name and codes
            contradict each other.
    """
    segmentation = read_segmentation(content)
    if series_uid and segmentation.series_uids and series_uid not in segmentation.series_uids:
        raise LabelError("the segmentation refers to another series than that of its image")
    label = segmentation.on_grid(grid)
    painted = {value for _, value in present_values(label)}
    names: dict[int, str] = {}
    for value, segment in enumerate(segmentation.segments, start=1):
        try:
            names[value] = segment_name(segment)
        except LabelError:
            if value in painted:
                raise
    if not names:
        # Without any name it would be taken for a patient without calcium.
        raise LabelError("expected a segmentation of coronary calcium, it names no artery")
    known = (segment for segment in label.segments if segment.value in names)
    named = tuple(replace(segment, name=names[segment.value]) for segment in known)
    return LabelMap(label.array, label.grid, named)


def segment_name(segment: SegmentInfo) -> str:
    """Return the name that a segment counts under.

    Raises:
        LabelError: If neither name nor codes tell which label it is, or they contradict each
            other.
    """
    coded = _coded_artery(segment)
    is_anatomy = segment.category is not None and segment.category.value in _ANATOMY
    try:
        name = canonical_name(segment.name)
    except LabelError:
        if coded is None or not _is_told_by_codes(segment, is_anatomy=is_anatomy):
            raise
        return f"{coded}{_REGION}" if is_anatomy else coded
    if name is None:
        return segment.name
    if coded is not None and coded != name.removesuffix(_REGION):
        raise LabelError(f"segment {segment.name[:60]!r} has the code of the {coded}")
    if is_anatomy and not name.endswith(_REGION):
        # Vessels that another program has segmented must never count as calcium.
        raise LabelError(
            f"segment {segment.name[:60]!r} is coded as anatomy; expected calcification, "
            f"or the name {name}{_REGION}"
        )
    return name


def _coded_artery(segment: SegmentInfo) -> str | None:
    codes = {code.value for code in segment.regions}
    found = [name for name, code in ARTERY_CODES.items() if code.value in codes]
    return found[0] if len(found) == 1 else None


def _is_told_by_codes(segment: SegmentInfo, *, is_anatomy: bool) -> bool:
    """Tell whether codes may stand for a name; a stent in the LAD is no calcium of it."""
    kind = segment.kind.value if segment.kind else ""
    if is_anatomy:
        return kind in {code.value for code in ARTERY_CODES.values()}
    return kind == CALCIFICATION.value or _NAMELESS.fullmatch(segment.name) is not None
