"""From a label map as submitted to the canonical label values."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.calcium.labels import CALCIUM_LABELS, LABELS, REGION_LABELS
from app.errors import LabelError
from app.imaging.labelmap import LabelMap

_NAMES: Final[Mapping[str, str]] = MappingProxyType({name.casefold(): name for name in LABELS})
"""Canonical names by their lower-case form."""

_PRECEDENCE: Final = (*CALCIUM_LABELS, *REGION_LABELS)
"""Who wins a voxel of overlapping segments: calcium before region, then the order of arteries."""


def canonical_labels(label_map: LabelMap) -> NDArray[np.uint8]:
    """Renumber a label map by the names of its segments.

    Where the file names its segments, only the names count, upper or lower case; without
    names, the values must be canonical already. A segment called ``background`` and segments
    without voxels do not count.

    Args:
        label_map: Label map with one or more layers.

    Returns:
        Canonical label values, shape (Z, Y, X).

    Raises:
        LabelError: If there is a name or value without meaning, or voxels without name.
    """
    layers = label_map.array if label_map.array.ndim > len("ZYX") else label_map.array[None]
    if not label_map.segments:
        return _checked_values(layers)
    masks = _masks_by_name(layers, label_map)
    labels = np.zeros(layers.shape[1:], np.uint8)
    for name in reversed(_PRECEDENCE):
        if name in masks:
            labels[masks[name]] = LABELS[name]
    return labels


def _checked_values(layers: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Return the only layer of canonical values, or raise."""
    highest, top = int(layers.max(initial=0)), max(LABELS.values())
    if len(layers) != 1 or highest > top:
        found = f"value {highest}" if len(layers) == 1 else f"{len(layers)} layers"
        raise LabelError(
            f"expected label values from 0 to {top} where the file names no segments, got {found}"
        )
    return np.asarray(layers[0], np.uint8)


def _masks_by_name(
    layers: NDArray[np.integer], label_map: LabelMap
) -> dict[str, NDArray[np.bool_]]:
    """Return the voxels of every known name that has some, or raise for any other voxel."""
    masks: dict[str, NDArray[np.bool_]] = {}
    unnamed = layers > 0
    for segment in label_map.segments:
        if not 0 <= segment.layer < len(layers):
            raise LabelError(
                f"segment {segment.name!r} is in layer {segment.layer} of {len(layers)}"
            )
        mask = layers[segment.layer] == segment.value
        unnamed[segment.layer] &= ~mask
        if segment.value == 0 or segment.name.casefold() == "background" or not mask.any():
            continue
        name = _NAMES.get(segment.name.strip().casefold())
        if name is None:
            raise LabelError(f"no label {segment.name!r}; known: {', '.join(LABELS)}")
        masks[name] = masks[name] | mask if name in masks else mask
    if unnamed.any():
        value = int(layers[unnamed].min())
        raise LabelError(f"the label has voxels of value {value}, which no segment names")
    return masks
