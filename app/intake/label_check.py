"""A submitted label, checked against its image: what may become a label version.

Nothing is stored here, and nothing here needs a transaction.
"""

import json
import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.calcium.labels import LABELS
from app.errors import LabelError
from app.imaging.geometry import match_label_to_grid
from app.imaging.labelmap import LabelMap, read_label_map, write_label_map
from app.imaging.plausibility import MAX_VOXELS
from app.imaging.volume import Grid
from app.intake.identifiers import LABEL_EXTENSIONS, split_extension
from app.intake.label_names import (
    Coverage,
    ListedSegment,
    canonical_name,
    coverage,
    listed_segments,
    numbered_segments,
    numbering,
    renumber,
)
from app.intake.segmentation_label import SEGMENTATION_EXTENSION, segmentation_label
from app.store.tables import Json

CANONICAL_EXTENSION = ".nrrd"
"""Format of every canonical label map: one for all tags, as viewers expect."""

_RAW_EXTENSION = ".bin"
"""Ending of a bare voxel dump, x fastest, as the viewer OHIF 2 sends it."""

_LAYERS_BOUND = 64
"""So many times the voxels of its image a label may have, layers counted."""

_FEWEST_BOUND = 1 << 20
"""Voxels that every label may have."""

_RAW_TYPES = (np.dtype("u1"), np.dtype("<u2"))
"""Voxel types of such a dump; its size tells which."""


@dataclass(frozen=True, eq=False)
class CheckedLabel:
    """A label that fits its image.

    Attributes:
        submitted: Bytes as they came.
        extension: Ending of the submitted file.
        grid: Grid of the image it was checked against.
        canonical: The label map with canonical values, as a gzipped NRRD file.
        names: Canonical names that were offered or drawn, in canonical order.
        covers: Tasks the label speaks about.
        info: What the client said about it, with ``label_info`` made canonical.
    """

    submitted: bytes
    extension: str
    grid: Grid
    canonical: bytes
    names: tuple[str, ...]
    covers: Coverage
    info: Json


def check_label(
    content: bytes,
    *,
    file_name: str,
    params: Mapping[str, object],
    grid: Grid,
    series_uid: str = "",
    needs_names: bool = False,
) -> CheckedLabel:
    """Check a submitted label and give its voxels their canonical values.

    Args:
        content: The file as it came.
        file_name: Its name; only the ending counts.
        params: What the client says about it; ``label_info`` lists its segments in order, or
            ``label_names`` has the value of each.
        grid: Grid of the image.
        series_uid: SeriesInstanceUID of the image; empty when it has none.
        needs_names: Refuse voxels that nothing names, instead of taking them for canonical.

    Raises:
        LabelError: If the file cannot be read, does not lie on the grid, has values that are
            no label or names that nobody knows; the message says which.
    """
    extension = _label_extension(file_name)
    if not content:
        raise LabelError("the label file is empty")
    info = _checked_info(params)
    listed = _listed(params)
    if extension == SEGMENTATION_EXTENSION:
        label = segmentation_label(content, grid, series_uid=series_uid)
    else:
        label = _decode(content, extension, grid)
    if not listed:
        label = _with_label_names(label, params.get("label_names"))
    if needs_names and not (listed or label.segments) and label.array.any():
        raise LabelError("expected label_info or label_names of the label in datastore_v2.json")
    offered = _offered(label, listed)
    # Renumbered before it is put on the image's grid: one layer is moved instead of many.
    mask = renumber(label, numbering(label, listed))
    matched = match_label_to_grid(LabelMap(mask, label.grid), grid)
    canonical = matched.array.astype(np.uint8)
    drawn = {name for name, value in LABELS.items() if (canonical == value).any()}
    names = tuple(name for name in LABELS if name in drawn | set(offered or ()))
    info["label_info"] = [{"name": name, "idx": LABELS[name]} for name in names]
    return CheckedLabel(
        submitted=content,
        extension=extension,
        grid=grid,
        canonical=encode_canonical(canonical, grid),
        names=names,
        covers=coverage(canonical, offered),
        info=info,
    )


def encode_canonical(mask: NDArray[np.uint8], grid: Grid) -> bytes:
    """Return the file of a canonical label map."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"label{CANONICAL_EXTENSION}"
        write_label_map(path, mask, grid, compress=True, names=LABELS)
        return path.read_bytes()


def _label_extension(file_name: str) -> str:
    _, extension = split_extension(file_name, LABEL_EXTENSIONS)
    if not extension:
        raise LabelError(f"expected a label file ending in {', '.join(LABEL_EXTENSIONS)}")
    return extension


def _checked_info(params: Mapping[str, object]) -> Json:
    """Copy what the client said, refusing what no JSON answer could give back."""
    try:
        text = json.dumps(dict(params), allow_nan=False)
    except (TypeError, ValueError):
        raise LabelError("expected params to be JSON with finite numbers") from None
    info: Json = json.loads(text)
    if "label_info" in info:
        info["submitted_label_info"] = info["label_info"]
    return info


def _listed(params: Mapping[str, object]) -> list[ListedSegment]:
    names = params.get("label_names")
    return listed_segments(params.get("label_info")) or (
        listed_segments(names) if isinstance(names, list) else []
    )


def _with_label_names(label: LabelMap, names: object) -> LabelMap:
    """Name the voxels as ``label_names`` says, {name: value}; names in the file itself win."""
    if label.segments or not isinstance(names, Mapping):
        return label
    return replace(label, segments=numbered_segments(names))


def _decode(content: bytes, extension: str, grid: Grid) -> LabelMap:
    if extension == _RAW_EXTENSION:
        return LabelMap(_decode_raw(content, grid), grid)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"label{extension}"
        path.write_bytes(content)
        return read_label_map(path, max_voxels=_most_voxels(grid))


def _most_voxels(grid: Grid) -> int:
    """Return how many voxels of all its layers a label of an image may have.

    It may reach beyond its image, where nothing is painted, but not without end.
    """
    return min(max(_FEWEST_BOUND, _LAYERS_BOUND * math.prod(grid.shape)), MAX_VOXELS)


def _decode_raw(content: bytes, grid: Grid) -> NDArray[np.uint16]:
    voxels = int(np.prod(grid.shape))
    for dtype in _RAW_TYPES:
        if len(content) == voxels * dtype.itemsize:
            return np.frombuffer(content, dtype).reshape(grid.shape).astype(np.uint16)
    raise LabelError(
        f"expected {voxels} voxels of one or two bytes as in the image, got {len(content)} bytes"
    )


def _offered(label: LabelMap, listed: list[ListedSegment]) -> list[str] | None:
    """Return the canonical names a submission lists; None when it lists none at all."""
    names = [segment.name for segment in label.segments] or [segment.name for segment in listed]
    if not names:
        return None
    return [known for name in names if (known := canonical_name(name)) is not None]
