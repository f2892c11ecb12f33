"""Names of segments as people write them, to the canonical labels.

Numbers of a submission are never trusted by themselves: every client numbers segments in
its own way, so voxels are renumbered by the name of their segment.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from app.calcium.labels import ARTERIES, CALCIUM_LABELS, LABELS
from app.errors import LabelError
from app.imaging.labelmap import LabelMap

NOT_LABELS: Final = frozenset({"background", "foreground scribbles", "background scribbles"})
"""Segments that viewers keep for themselves; they are no part of a label."""

_ARTERY_ALIASES: Final[Mapping[str, str]] = {
    "lm": "LM",
    "lms": "LM",
    "lmca": "LM",
    "left main": "LM",
    "left main stem": "LM",
    "left main trunk": "LM",
    "lad": "LAD",
    "left anterior descending": "LAD",
    "cx": "LCX",
    "lcx": "LCX",
    "circumflex": "LCX",
    "left circumflex": "LCX",
    "rca": "RCA",
    "right": "RCA",
    "right main": "RCA",
}
"""Arteries by what is left of a name without the words below."""

_CALCIUM_WORDS: Final = frozenset(
    {"calcium", "calcification", "calcifications", "calcified", "cac", "plaque", "plaques"}
    | {"lesion", "lesions"}
)
"""Words that say calcium, which is meant anyway."""

_REGION_WORDS: Final = frozenset({"region", "regions", "territory", "area", "zone"})
"""Words that say the surroundings of an artery."""

_FILLER_WORDS: Final = frozenset({"artery", "arteries", "coronary", "the", "of", "segment"})
"""Words that say nothing."""


def canonical_name(name: str) -> str | None:
    """Return the canonical label of a name, or None for a segment that is no label.

    Case, punctuation and words such as ``calcium`` or ``artery`` do not matter.

    Raises:
        LabelError: If nobody can know which label is meant.
    """
    words = re.sub(r"[\W_]+", " ", name.casefold()).split()
    if " ".join(words) in NOT_LABELS:
        return None
    is_region = any(word in _REGION_WORDS for word in words)
    spoken = [word for word in words if word not in _REGION_WORDS | _FILLER_WORDS]
    is_calcium = any(word in _CALCIUM_WORDS for word in spoken)
    artery = _ARTERY_ALIASES.get(" ".join(word for word in spoken if word not in _CALCIUM_WORDS))
    if artery is None or (is_region and is_calcium):
        raise LabelError(f"expected a label out of {', '.join(LABELS)}, got {name[:60]!r}")
    return f"{artery}_region" if is_region else artery


@dataclass(frozen=True)
class ListedSegment:
    """One entry of the list of segments that a client sends with a label.

    Attributes:
        name: Name as the annotator sees it.
        number: What the client calls its index; only ever used to find contradictions.
    """

    name: str
    number: int | None = None


def listed_segments(label_info: object) -> list[ListedSegment]:
    """Read the ``label_info`` of a client: objects with a name, or plain names.

    Raises:
        LabelError: If it is something else.
    """
    if label_info is None:
        return []
    if not isinstance(label_info, list):
        raise LabelError("expected label_info to be a list of segments with a name each")
    return [_listed_segment(entry) for entry in label_info]


def _listed_segment(entry: object) -> ListedSegment:
    if isinstance(entry, str):
        return ListedSegment(entry)
    name = entry.get("name", entry.get("label")) if isinstance(entry, dict) else None
    if not isinstance(entry, dict) or not isinstance(name, str):
        raise LabelError("expected label_info to be a list of segments with a name each")
    number = entry.get("idx", entry.get("id"))
    return ListedSegment(name, number if type(number) is int else None)


Numbering = Mapping[tuple[int, int], str | None]
"""Canonical name by (layer, value); None for segments that are no label."""


def numbering(label: LabelMap, listed: Sequence[ListedSegment]) -> Numbering:
    """Find out which name the voxels of each value have.

    The names in the file itself win. Else value k is the k-th listed segment without
    background and scribbles, whatever ``idx`` says: with a background segment first, 3D
    Slicer sends ``idx`` 2 for voxels of value 1. Else values are canonical.

    Raises:
        LabelError: If a value present has no name, an unknown one, or two possible ones.
    """
    present = present_values(label)
    if label.segments:
        named = {(segment.layer, segment.value): segment.name for segment in label.segments}
    elif listed:
        named = _by_order(listed, {value for _, value in present})
    else:
        named = {(0, value): name for name, value in LABELS.items()}
    nameless = sorted(value for layer, value in present if (layer, value) not in named)
    if nameless:
        raise LabelError(_nameless(nameless, len(named), is_listed=bool(listed)))
    return {key: canonical_name(named[key]) for key in present}


def present_values(label: LabelMap) -> list[tuple[int, int]]:
    """Return the (layer, value) pairs that have voxels, without 0."""
    layers = label.array[None] if label.array.ndim == 3 else label.array
    return [
        (index, int(value))
        for index, layer in enumerate(layers)
        for value in np.flatnonzero(np.bincount(layer.ravel()))
        if value
    ]


def _by_order(listed: Sequence[ListedSegment], values: Iterable[int]) -> dict[tuple[int, int], str]:
    kept = [segment for segment in listed if canonical_name(segment.name) is not None]
    by_order = {(0, place): segment.name for place, segment in enumerate(kept, start=1)}
    numbers = [segment.number for segment in kept]
    canonical = [LABELS[canonical_name(segment.name) or ""] for segment in kept]
    is_canonical = numbers == canonical and len(kept) == len(listed)
    by_number = {(0, value): s.name for value, s in zip(canonical, kept, strict=True)}
    fits_number = is_canonical and all((0, value) in by_number for value in values)
    fits_order = all((0, value) in by_order for value in values)
    if fits_number and not fits_order:
        return by_number
    if fits_number and any(by_number[0, v] != by_order[0, v] for v in values):
        raise LabelError(
            "the numbers of the label can mean two things: its values fit both the order and "
            "the idx of label_info; number the segments 1, 2, 3 … in order, or send a .seg.nrrd"
        )
    return by_order


def _nameless(values: Sequence[int], known: int, *, is_listed: bool) -> str:
    found = ", ".join(str(value) for value in values[:5])
    if is_listed:
        return f"expected label values from 1 to {known}, one for each segment named, got {found}"
    return f"expected the canonical label values 1 to {len(LABELS)}, got {found}"


def renumber(label: LabelMap, names: Numbering) -> NDArray[np.uint8]:
    """Give every voxel the canonical value of its name.

    Where segments overlap, calcium wins over region, and of two regions the first in
    canonical order.

    Returns:
        Canonical values, shape (Z, Y, X).

    Raises:
        LabelError: If a voxel is calcium of two arteries.
    """
    layers = label.array[None] if label.array.ndim == 3 else label.array
    renumbered = [_renumber_layer(layer, index, names) for index, layer in enumerate(layers)]
    merged = renumbered[0]
    for layer in renumbered[1:]:
        merged = _merge(merged, layer)
    return merged


def _renumber_layer(layer: NDArray[Any], index: int, names: Numbering) -> NDArray[np.uint8]:
    table = np.zeros(int(layer.max(initial=0)) + 1, dtype=np.uint8)
    for (place, value), name in names.items():
        if place == index and name is not None:
            table[value] = LABELS[name]
    canonical: NDArray[np.uint8] = table[layer]
    return canonical


def _merge(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.uint8]:
    is_shared = (first > 0) & (second > 0) & (first != second)
    is_calcium_twice = is_shared & (first <= len(ARTERIES)) & (second <= len(ARTERIES))
    if is_calcium_twice.any():
        raise LabelError(
            f"{np.count_nonzero(is_calcium_twice)} voxels are calcium of two arteries; "
            "give each to one"
        )
    # Calcium has the lower values, and lower regions come first in canonical order.
    merged: NDArray[np.uint8] = np.where(is_shared, np.minimum(first, second), first | second)
    return merged


@dataclass(frozen=True)
class Coverage:
    """Which tasks a submission speaks about; the other ones learn nothing from it."""

    calcium: bool
    regions: bool


def coverage(mask: NDArray[np.uint8], offered: Iterable[str] | None) -> Coverage:
    """Decide which tasks a submission covers.

    Calcium: when the submission names any calcium label, with or without voxels, so an empty
    mask is a patient without calcium. A submission that names nothing covers calcium unless
    it has regions only.
    Regions: when any region is drawn. Every heart has all four, so a named region without
    voxels was left out, and does not mean that there is none.

    Args:
        mask: Canonical values.
        offered: Canonical names the submission listed; None when it listed none.
    """
    has_regions = bool((mask > len(ARTERIES)).any())
    if offered is None:
        has_calcium = bool(((mask > 0) & (mask <= len(ARTERIES))).any())
        return Coverage(has_calcium or not has_regions, has_regions)
    names = set(offered)
    return Coverage(bool(names & set(CALCIUM_LABELS)), has_regions)
