"""DICOM segmentations of any program: what they name, and their masks put on the grid of an image.

Frames may come in any order, and only some of them: each is placed by its own position.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from typing import Any, Final

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.pixels.utils import iter_pixels
from pydicom.sr.coding import Code
from pydicom.uid import SegmentationStorage

from app.errors import ImagingError, LabelError
from app.imaging.dicom.derivation import coded
from app.imaging.dicom.expansion import check_content, check_packed
from app.imaging.dicom.header import quiet_pydicom
from app.imaging.geometry import match_label_to_grid
from app.imaging.labelmap import LabelMap, Segment
from app.imaging.parsing import PARSER_ERRORS
from app.imaging.plausibility import MAX_POSITION_MM, check_shape
from app.imaging.volume import Grid

_LABEL_MAP_STORAGE: Final = "1.2.840.10008.5.1.4.1.1.66.7"
"""SOP class of segmentations whose pixels are numbers of segments."""

_HALF: Final = 0.5
"""Probability or occupancy from which a pixel of a fractional segment belongs to it."""

_PLANE_TOLERANCE: Final = 0.2
"""Farthest that a frame may lie from a slice of its image, in slice distances.

Slices of an accepted series are off their even grid by up to a tenth of a distance.
"""

_SHIFT_TOLERANCE: Final = 0.2
"""Farthest that frames may be shifted against each other within their planes, in pixels."""

_MOMENT_FORMAT: Final = "%Y%m%d%H%M%S"
"""A date and a time of day, in an order that sorts."""

_MAX_SEGMENTS: Final = 1000
"""Most segments read; label maps of whole bodies have some hundred."""


@dataclass(frozen=True)
class SegmentInfo:
    """What a segmentation says about one of its segments.

    Attributes:
        number: Its number, from 1.
        name: Its label as the annotator sees it.
        regions: Codes of where in the body it is, perhaps none.
        category: Code of the kind of thing it shows, or None.
        kind: Code of what it shows, or None.
    """

    number: int
    name: str
    regions: tuple[Code, ...] = ()
    category: Code | None = None
    kind: Code | None = None


@dataclass(frozen=True)
class _Frame:
    """Place of one frame: number of its segment (0: a label map), and pixels to LPS."""

    segment: int
    position_mm: NDArray[np.float64]
    row_step_mm: NDArray[np.float64]
    column_step_mm: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Segmentation:
    """A DICOM segmentation, checked as far as that goes without its image.

    Attributes:
        sop_uid: SOPInstanceUID.
        series_uids: Series that it refers to.
        frame_uid: FrameOfReferenceUID, or empty.
        made_at: When it was made by the clock of its maker, ``YYYYMMDDHHMMSS``, or empty.
        made_s: The same in seconds since the epoch, or None. Where it names no time zone it
            is taken for a clock in the zone of this machine.
        creator: Who made it, as it says itself, or empty.
        segments: Its segments, by number.
    """

    sop_uid: str
    series_uids: tuple[str, ...]
    frame_uid: str
    made_at: str
    made_s: float | None
    creator: str
    segments: tuple[SegmentInfo, ...]
    _dataset: pydicom.Dataset
    _frames: tuple[_Frame, ...]

    def on_grid(self, grid: Grid) -> LabelMap:
        """Put the masks on the grid of an image.

        Args:
            grid: Grid of the image, axial slices along z.

        Returns:
            A label map with a value per segment and as many layers as overlaps need. Slices
            without a frame are empty.

        Raises:
            LabelError: If a frame with pixels does not lie on a slice of the image, or its
                pixels are no pixels of the image.
        """
        try:
            with quiet_pydicom():
                return _on_grid(self, grid)
        except LabelError:
            raise
        except ImagingError as error:
            raise LabelError(str(error)) from error
        except PARSER_ERRORS as error:
            raise LabelError("the frames of the segmentation cannot be decoded") from error


def read_segmentation(content: bytes) -> Segmentation:
    """Read a DICOM segmentation: binary, fractional, or a label map.

    Raises:
        LabelError: If it is something else, damaged, or lacks what places its frames.
    """
    with quiet_pydicom():
        try:
            check_content(content)
            dataset = pydicom.dcmread(BytesIO(content))
            return _read(dataset)
        except LabelError:
            raise
        except ImagingError as error:
            raise LabelError(str(error)) from error
        except PARSER_ERRORS as error:
            raise LabelError("the DICOM segmentation cannot be read") from error


def _read(dataset: pydicom.Dataset) -> Segmentation:
    kind = str(dataset.get("SOPClassUID", ""))
    if kind not in (SegmentationStorage, _LABEL_MAP_STORAGE):
        raise LabelError("expected a DICOM segmentation, got another kind of DICOM object")
    if not dataset.get("SOPInstanceUID") or not dataset.get("SegmentSequence"):
        raise LabelError("the segmentation has no SOPInstanceUID or no segments")
    segments = tuple(_segment(item) for item in dataset.SegmentSequence)
    numbers = {segment.number for segment in segments}
    if len(numbers) < len(segments) or len(segments) > _MAX_SEGMENTS or min(numbers) < 0:
        raise LabelError(f"expected at most {_MAX_SEGMENTS} segments with a number of their own")
    frames = tuple(_frames(dataset))
    if any(frame.segment not in numbers | {0} for frame in frames):
        raise LabelError("a frame of the segmentation belongs to no segment of it")
    made_at = _made_at(dataset)
    return Segmentation(
        sop_uid=str(dataset.SOPInstanceUID),
        series_uids=_series_uids(dataset),
        frame_uid=str(dataset.get("FrameOfReferenceUID") or ""),
        made_at=made_at,
        made_s=_made_s(made_at, _utc_offset(dataset, made_at)),
        creator=str(dataset.get("ContentCreatorName") or "").strip(),
        # Number 0 names the background of a label map.
        segments=tuple(segment for segment in segments if segment.number),
        _dataset=dataset,
        _frames=frames,
    )


def _segment(item: pydicom.Dataset) -> SegmentInfo:
    category = coded(item.get("SegmentedPropertyCategoryCodeSequence"))
    kind = coded(item.get("SegmentedPropertyTypeCodeSequence"))
    return SegmentInfo(
        number=int(item.SegmentNumber),
        name=str(item.get("SegmentLabel") or "").strip(),
        regions=coded(item.get("AnatomicRegionSequence")),
        category=category[0] if category else None,
        kind=kind[0] if kind else None,
    )


def _series_uids(dataset: pydicom.Dataset) -> tuple[str, ...]:
    items = list(dataset.get("ReferencedSeriesSequence") or ())
    for study in dataset.get("StudiesContainingOtherReferencedInstancesSequence") or ():
        items += study.get("ReferencedSeriesSequence") or ()
    uids = (str(item.get("SeriesInstanceUID") or "") for item in items)
    return tuple(dict.fromkeys(uid for uid in uids if uid))


def _made_at(dataset: pydicom.Dataset) -> str:
    moment = f"{dataset.get('ContentDate') or ''}{str(dataset.get('ContentTime') or '')[:6]}"
    try:
        return datetime.strptime(moment, _MOMENT_FORMAT).strftime(_MOMENT_FORMAT)
    except ValueError:
        return ""


def _utc_offset(dataset: pydicom.Dataset, made_at: str) -> str:
    """Return the offset of the clock of its maker, or empty.

    Some, like us, tell it with the same moment beside the program that made it.
    """
    for item in dataset.get("ContributingEquipmentSequence") or ():
        moment, sign, offset = str(item.get("ContributionDateTime") or "").partition("+")
        if not sign:
            moment, sign, offset = moment.partition("-")
        if made_at and moment == made_at:
            return sign + offset
    return str(dataset.get("TimezoneOffsetFromUTC") or "")


def _made_s(made_at: str, utc_offset: str) -> float | None:
    zone_format = "%z" if utc_offset else ""
    try:
        moment = datetime.strptime(made_at + utc_offset, _MOMENT_FORMAT + zone_format)
        return moment.timestamp()
    except (ValueError, OverflowError):
        return None


def _frames(dataset: pydicom.Dataset) -> Iterator[_Frame]:
    if "PixelData" not in dataset:
        # Pixels come last in a file: one that broke off on its way here has frames without any.
        if dataset.get("NumberOfFrames") or "PerFrameFunctionalGroupsSequence" in dataset:
            raise LabelError("the segmentation tells of frames but has no pixels: it is incomplete")
        return
    shared = (dataset.get("SharedFunctionalGroupsSequence") or [pydicom.Dataset()])[0]
    own = list(dataset.get("PerFrameFunctionalGroupsSequence") or ())
    count = int(dataset.get("NumberOfFrames") or 1)
    if len(own) != count:
        raise LabelError(f"expected the places of {count} frames, got {len(own)}")
    is_label_map = str(dataset.SOPClassUID) == _LABEL_MAP_STORAGE
    for groups in own:
        orientation = _group(groups, shared, "PlaneOrientationSequence").ImageOrientationPatient
        measures = _group(groups, shared, "PixelMeasuresSequence").PixelSpacing
        position = _group(groups, shared, "PlanePositionSequence").ImagePositionPatient
        cosines = np.array(orientation, np.float64)
        between_rows, between_columns = (float(length) for length in measures)
        frame = _Frame(
            segment=0 if is_label_map else _segment_number(groups, shared),
            position_mm=np.array(position, np.float64),
            row_step_mm=cosines[3:] * between_rows,
            column_step_mm=cosines[:3] * between_columns,
        )
        _check_place(frame)
        yield frame


def _check_place(frame: _Frame) -> None:
    vectors = frame.position_mm, frame.row_step_mm, frame.column_step_mm
    if any(vector.shape != (3,) for vector in vectors) or not np.isfinite(vectors).all():
        raise LabelError("the place of a frame of the segmentation makes no sense")
    lengths = np.linalg.norm(vectors[1:], axis=1)
    if np.abs(vectors[0]).max() > MAX_POSITION_MM or lengths.min() <= 0:
        raise LabelError("the place of a frame of the segmentation makes no sense")


def _group(own: pydicom.Dataset, shared: pydicom.Dataset, name: str) -> pydicom.Dataset:
    found = own.get(name) or shared.get(name)
    if not found:
        raise LabelError(f"the segmentation does not tell the {name} of its frames")
    item: pydicom.Dataset = found[0]
    return item


def _segment_number(own: pydicom.Dataset, shared: pydicom.Dataset) -> int:
    return int(_group(own, shared, "SegmentIdentificationSequence").ReferencedSegmentNumber)


def _on_grid(segmentation: Segmentation, grid: Grid) -> LabelMap:
    frames, dataset = segmentation._frames, segmentation._dataset
    if not frames:
        return _label_map([], grid, segmentation, set())
    shape = (grid.shape[0], int(dataset.Rows), int(dataset.Columns))
    check_shape(shape)
    check_packed(dataset)
    place = _Place(grid, frames[0], shape)
    stack = _Stack(shape, segmentation)
    for frame, pixels in zip(frames, iter_pixels(dataset), strict=True):
        values = stack.values(frame, pixels)
        if values.any():
            stack.paint(place.slice_index(frame), values)
    label = _label_map(stack.layers, place.grid, segmentation, stack.used)
    return match_label_to_grid(label, grid)


class _Place:
    """Where the frames lie on an image: slice by slice, all of them above each other."""

    def __init__(self, grid: Grid, first: _Frame, shape: tuple[int, int, int]) -> None:
        self._to_index = np.linalg.inv(grid.affine)
        self._first = first
        self._pixels = np.array(shape[:0:-1], np.float64)
        self._steps = self._index_steps(first)
        self._corner = self._index_corner(first)
        # Slices of an image are off its even grid by a little, so only the place within the
        # plane is taken from the frame.
        flat = np.eye(4)
        flat[:2, :2] = self._steps[:2]
        flat[:2, 3] = self._corner[:2]
        self.grid = Grid(shape, grid.affine @ flat)

    def slice_index(self, frame: _Frame) -> int:
        """Return the slice of the image that a frame lies on."""
        steps, corner = self._index_steps(frame), self._index_corner(frame)
        shift = np.abs((steps - self._steps) * self._pixels)[:2].max()
        if max(shift, np.abs(corner - self._corner)[:2].max()) > _SHIFT_TOLERANCE:
            raise LabelError("the frames of the segmentation do not lie above each other")
        if np.abs(steps[2] * self._pixels).max() > _PLANE_TOLERANCE:
            raise LabelError("the segmentation is rotated against its image")
        index = round(float(corner[2]))
        if abs(corner[2] - index) > _PLANE_TOLERANCE:
            raise LabelError(
                "a frame of the segmentation lies between slices of the image, "
                f"at slice {corner[2]:.2f}"
            )
        if not 0 <= index < self.grid.shape[0]:
            raise LabelError("a frame of the segmentation with pixels lies outside the image")
        return index

    def _index_steps(self, frame: _Frame) -> NDArray[np.float64]:
        """Return the steps to the next column and to the next row, in voxels, shape (3, 2)."""
        steps = np.stack([frame.column_step_mm, frame.row_step_mm], axis=1)
        return np.asarray(self._to_index[:3, :3] @ steps)

    def _index_corner(self, frame: _Frame) -> NDArray[np.float64]:
        return np.asarray(self._to_index[:3, :3] @ frame.position_mm + self._to_index[:3, 3])


class _Stack:
    """Masks above each other, in layers where segments overlap."""

    def __init__(self, shape: tuple[int, int, int], segmentation: Segmentation) -> None:
        self.layers: list[NDArray[Any]] = []
        self.used: set[tuple[int, int]] = set()
        self._shape = shape
        self._dataset = segmentation._dataset
        count = len(segmentation.segments)
        self._type = np.dtype(np.uint8 if count <= np.iinfo(np.uint8).max else np.uint16)
        self._value = {
            segment.number: value for value, segment in enumerate(segmentation.segments, start=1)
        }

    def values(self, frame: _Frame, pixels: NDArray[Any]) -> NDArray[Any]:
        """Turn the pixels of a frame into values of segments."""
        if pixels.shape != self._shape[1:]:
            raise LabelError("the frames of the segmentation have another size than it says")
        if frame.segment:
            return np.where(self._is_inside(pixels), self._value[frame.segment], 0)
        table = np.zeros(int(pixels.max(initial=0)) + 1, np.int64)
        for number in np.flatnonzero(np.bincount(pixels.ravel())).tolist():
            if number and number not in self._value:
                raise LabelError(f"the segmentation has pixels of a segment {number} it lacks")
            table[number] = self._value.get(number, 0)
        return np.asarray(table[pixels])

    def paint(self, index: int, values: NDArray[Any]) -> None:
        """Put values on a slice of the first layer where nothing is in their way."""
        painted = values > 0
        for number in range(len(self.layers) + 1):
            if number == len(self.layers):
                check_shape((number + 1, *self._shape))
                self.layers.append(np.zeros(self._shape, self._type))
            plane = self.layers[number][index]
            if not (painted & (plane > 0) & (plane != values)).any():
                plane[painted] = values[painted]
                self.used |= {(value, number) for value in np.unique(values[painted]).tolist()}
                return

    def _is_inside(self, pixels: NDArray[Any]) -> NDArray[np.bool_]:
        if str(self._dataset.get("SegmentationType", "BINARY")) != "FRACTIONAL":
            return pixels > 0
        return pixels >= _HALF * float(self._dataset.MaximumFractionalValue)


def _label_map(
    layers: Sequence[NDArray[Any]],
    grid: Grid,
    segmentation: Segmentation,
    used: set[tuple[int, int]],
) -> LabelMap:
    """Make a label map that names every segment, the ones without pixels too."""
    segments = [
        Segment(segment.name, value, layer)
        for value, segment in enumerate(segmentation.segments, start=1)
        for layer in sorted({layer for other, layer in used if other == value} or {0})
    ]
    if not layers:
        return LabelMap(np.zeros(grid.shape, np.uint8), grid, tuple(segments))
    array = np.stack(layers) if len(layers) > 1 else layers[0]
    return LabelMap(array, grid, tuple(segments))
