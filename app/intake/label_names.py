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

from app.calcium.labels import ARTERIES, CALCIUM_LABELS, LABELS, REGION_LABELS
from app.errors import LabelError
from app.imaging.labelmap import LabelMap, Segment

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
        number: What the client calls its index, which counts only when the order cannot be meant.
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
    return ListedSegment(name, whole_number(entry.get("idx", entry.get("id"))))


def whole_number(value: object) -> int | None:
    """Read a number as clients write it, be it 2, 2.0 or "2"; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return int(number) if number.is_integer() else None


def numbered_segments(label_names: Mapping[object, object]) -> tuple[Segment, ...]:
    """Read the ``label_names`` of a client, whose values are the values of the voxels.

    Raises:
        LabelError: If a name has no value, or two names have the same one.
    """
    values = [whole_number(value) for value in label_names.values()]
    if None in values or len(set(values)) < len(values):
        raise LabelError("expected label_names to give each name a whole number of its own")
    return tuple(
        Segment(str(name), value)
        for name, value in zip(label_names, values, strict=True)
        if value is not None
    )


Numbering = Mapping[tuple[int, int], str | None]
"""Canonical name by (layer, value); None for segments that are no label."""


def numbering(label: LabelMap, listed: Sequence[ListedSegment]) -> Numbering:
    """Find out which name the voxels of each value have.

    The names in the file itself win. Else value k is the k-th listed segment without
    background and scribbles, when ``idx`` is the place in the full list: with a background
    segment first, 3D Slicer sends ``idx`` 2 for voxels of value 1. With any other ``idx``,
    whichever of order and ``idx`` fits the values counts. Without names values are canonical.

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
        is_named = bool(label.segments or listed)
        raise LabelError(_nameless(nameless, sorted({v for _, v in named}), is_named=is_named))
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


def _by_order(listed: Sequence[ListedSegment], values: set[int]) -> dict[tuple[int, int], str]:
    kept = [segment.name for segment in listed if canonical_name(segment.name) is not None]
    by_order = dict(enumerate(kept, start=1))
    by_number = _by_number(listed)
    # 3D Slicer counts the places of the full list, but numbers voxels without background.
    counts_places = list(by_number) == list(range(1, len(listed) + 1))
    fits_order = values <= by_order.keys()
    fits_number = values <= by_number.keys()
    if fits_order and fits_number and not counts_places:
        _check_same(by_order, by_number, values)
    chosen = by_number if fits_number and not fits_order else by_order
    return {(0, value): name for value, name in chosen.items()}


def _by_number(listed: Sequence[ListedSegment]) -> dict[int, str]:
    """Return the names by ``idx``; none when some have no ``idx`` or share one."""
    numbered = {s.number: s.name for s in listed if s.number is not None}
    return numbered if len(numbered) == len(listed) else {}


def _check_same(first: Mapping[int, str], second: Mapping[int, str], values: set[int]) -> None:
    if any(canonical_name(first[value]) != canonical_name(second[value]) for value in values):
        raise LabelError(
            "the numbers of the label can mean two things, the order or the idx of label_info; "
            "send the names in the file (.seg.nrrd), or label_names with the value of each name"
        )


def _nameless(values: Sequence[int], known: Sequence[int], *, is_named: bool) -> str:
    found, expected = (", ".join(map(str, some)) for some in (values[:5], known[:8]))
    if is_named:
        return f"expected label values out of {expected}, one for each segment named, got {found}"
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
    Regions: when the regions of all four arteries are drawn. Every heart has all four, so a
    region without voxels was left out, and teaching from the others alone would say that
    there is none. Its calcium is not enough: the rest of the region is then unknown.

    Args:
        mask: Canonical values.
        offered: Canonical names the submission listed; None when it listed none.
    """
    drawn = set(np.flatnonzero(np.bincount(mask.ravel(), minlength=1)).tolist()) - {0}
    has_regions = not drawn.isdisjoint(REGION_LABELS.values())
    all_regions = drawn.issuperset(REGION_LABELS.values())
    if offered is None:
        has_calcium = not drawn.isdisjoint(CALCIUM_LABELS.values())
        return Coverage(has_calcium or not has_regions, all_regions)
    return Coverage(not CALCIUM_LABELS.keys().isdisjoint(offered), all_regions)
