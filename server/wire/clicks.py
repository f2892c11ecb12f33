"""Clicks as 3D Slicer and OHIF send them in ``params`` of ``/infer``."""

import json
import math
from collections.abc import Mapping
from typing import Final

from pydantic import JsonValue

from app.calcium.labels import CALCIUM_LABELS, LABELS
from app.clicks.lesions import Clicks, Voxel
from app.errors import InvalidInputError
from app.intake.label_names import canonical_name

_MOST_CLICKS: Final = 500
"""Most clicks of one request; a patient has some dozen lesions."""

_ROI_NUMBERS: Final = 6
"""First and last index along i, j and k."""


def read_clicks(given: Mapping[str, JsonValue]) -> Clicks:
    """Read ``foreground``, ``background`` and ``roi``; what is missing is empty.

    3D Slicer's pairs of a ROI descend where an axis runs against the patient's, and may lie
    outside the image.

    Raises:
        InvalidInputError: If something is no list of voxels, or there are too many.
    """
    return _clicks(given, _points(given, "foreground"))


def read_clicks_of_all(given: Mapping[str, JsonValue]) -> Clicks:
    """Read the clicks of every label, which some tools send under the names of the labels.

    Raises:
        InvalidInputError: If something is no list of voxels, or there are too many.
    """
    points = _points(given, "foreground")
    for name in LABELS:
        points += _points(given, name)
    # The same place once, however many labels it was kept with.
    return _clicks(given, list(dict.fromkeys(points)))


def read_artery(given: Mapping[str, JsonValue]) -> str | None:
    """Return the artery of the segment ``label`` that is being filled, None without one.

    Raises:
        InvalidInputError: If it is no calcium label.
    """
    label = given.get("label")
    if label is None or label == "":
        return None
    name = canonical_name(str(label))
    if name not in CALCIUM_LABELS:
        raise InvalidInputError(
            f"a click fills the calcium of an artery; choose the segment "
            f"{', '.join(CALCIUM_LABELS)}, not {str(label)[:60]!r}"
        )
    return name


def _clicks(given: Mapping[str, JsonValue], foreground: list[Voxel]) -> Clicks:
    background = _points(given, "background")
    if len(foreground) + len(background) > _MOST_CLICKS:
        raise InvalidInputError(f"expected at most {_MOST_CLICKS} clicks")
    return Clicks(foreground, background, _roi(given))


def _points(given: Mapping[str, JsonValue], name: str) -> list[Voxel]:
    points = _list(given, name)
    return [_voxel(point, name, given.get("slice")) for point in points]


def _voxel(point: JsonValue, name: str, slice_index: JsonValue) -> Voxel:
    """Read [i, j, k], or [i, j] where the slice is told once for all."""
    numbers = list(point) if isinstance(point, list) else []
    if len(numbers) == len("ij"):
        numbers.append(slice_index)
    indices = [index for number in numbers if (index := _index(number)) is not None]
    if len(numbers) != len("ijk") or len(indices) != len("ijk"):
        raise InvalidInputError(f"{name}: expected voxels [i, j, k], got {str(point)[:40]}")
    return indices[0], indices[1], indices[2]


def _roi(given: Mapping[str, JsonValue]) -> tuple[Voxel, Voxel] | None:
    numbers = _list(given, "roi")
    if not numbers:
        return None
    ends = [index for number in numbers if (index := _index(number)) is not None]
    if len(ends) != _ROI_NUMBERS or len(numbers) != _ROI_NUMBERS:
        raise InvalidInputError(f"roi: expected six numbers i, i, j, j, k, k, got {numbers!r:.60}")
    (i0, i1), (j0, j1), (k0, k1) = (sorted(ends[at : at + 2]) for at in (0, 2, 4))
    return (i0, j0, k0), (i1, j1, k1)


def _list(given: Mapping[str, JsonValue], name: str) -> list[JsonValue]:
    """Read a list, which may come as its JSON text."""
    value = given.get(name)
    if isinstance(value, str):
        try:
            value = json.loads(value or "[]")
        except (ValueError, RecursionError):
            value = False
    if value is None:
        return []
    if not isinstance(value, list):
        raise InvalidInputError(f"{name}: expected a list, got {str(given.get(name))[:40]!r}")
    return value


def _index(number: JsonValue) -> int | None:
    if isinstance(number, bool) or not isinstance(number, int | float):
        return None
    if isinstance(number, int):
        return number
    return round(number) if math.isfinite(number) else None
