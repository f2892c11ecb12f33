"""The connected island of candidate voxels at a seed, kept from flooding.

Calcium, bone and contrast-filled blood all lie above the threshold, and an island may join
them. No island of a size that no lesion has is ever answered whole:

* Coronary lesions are small. Of 49 lesions in public calcium scans 95 % had at most 294 mm³,
  and the largest single lesion that was met in a public set has 962 mm³; the bound is half as
  much again, 1500 mm³.
* Coronary arteries are thin: lumens measure 2 to 5 mm (Dodge et al. 1992,
  https://doi.org/10.1161/01.CIR.86.1.232), and partial volume adds about a millimetre on each
  side. 200 mm² in one slice is such a vessel of 6 mm calcified over 33 mm within the slice.
  The aorta (700 mm² at a diameter of 30 mm), heart chambers, vertebrae and the sternum have more.

Where a bound is exceeded, the island is cut to what lies within 10 mm of the seed, measured
along the island. A lesion that touches bone by a bridge, or lies in a contrast-filled vessel,
is answered so. A vessel of 5 mm over those 20 mm has 100 mm² within a slice and 390 mm³; a
piece with more than that in a slice, or 400 mm³ in all, is no vessel, and nothing is answered.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import dijkstra

from app.calcium.components import neighbour_offsets, voxel_pairs

LARGEST_MM3: Final = 1500.0
"""Volume of the largest island that is answered whole."""

LARGEST_AREA_MM2: Final = 200.0
"""Largest area in one slice of an island that is answered whole."""

REACH_MM: Final = 10.0
"""How far from its seed a larger island is followed, along the island."""

LARGEST_CUT_AREA_MM2: Final = 100.0
"""Largest area in one slice of a piece that was cut so."""

LARGEST_CUT_MM3: Final = 400.0
"""Largest volume of a piece that was cut so."""

Voxels = NDArray[np.intp]
"""Voxel indices (z, y, x), shape (3, N)."""


@dataclass(frozen=True, eq=False)
class Field:
    """A volume with the threshold and the part of it that islands may grow in.

    Attributes:
        hu: Hounsfield units, shape (Z, Y, X), in C order, perhaps a memory map.
        spacing_mm: Distance between voxel centres along (Z, Y, X), in millimetres.
        threshold_hu: Candidates have at least so many HU.
        low: First index along (Z, Y, X).
        high: Index behind the last along (Z, Y, X).
        connectivity: Neighbours that join voxels into an island, 6 or 26.
    """

    hu: NDArray[Any]
    spacing_mm: tuple[float, float, float]
    threshold_hu: int
    low: tuple[int, int, int]
    high: tuple[int, int, int]
    connectivity: int = 26

    def is_candidate(self, voxel: tuple[int, int, int]) -> bool:
        """Tell whether a voxel lies inside and reaches the threshold."""
        inside = all(
            first <= at < end for first, at, end in zip(self.low, voxel, self.high, strict=True)
        )
        return inside and bool(self.hu[voxel] >= self.threshold_hu)

    def largest_area_mm2(self, voxels: Voxels) -> float:
        """Return the largest area of some voxels in one slice."""
        _, row_mm, column_mm = self.spacing_mm
        return float(np.bincount(voxels[0]).max(initial=0)) * row_mm * column_mm


@dataclass(frozen=True, eq=False)
class Island:
    """What an island gave.

    Attributes:
        voxels: Its voxels; none where there is no lesion.
        is_cut: Whether the island at the seed was too large and only a part is answered.
        is_limited: Whether a background seed took a part of it away.
    """

    voxels: Voxels
    is_cut: bool = False
    is_limited: bool = False


def island_at(
    field: Field, seed: tuple[int, int, int], background: list[tuple[int, int, int]]
) -> Island:
    """Find the island of a seed, without what lies nearer to a background seed.

    Args:
        field: Where to grow.
        seed: A candidate voxel.
        background: Candidate voxels that are not to belong to it. Distances are measured
            along the island, so a background seed elsewhere takes nothing away.

    Returns:
        The island; without voxels where it is too large to be a lesion.
    """
    most = int(LARGEST_MM3 / np.prod(field.spacing_mm))
    voxels = _flood(field, seed, most=most)
    is_cut = voxels is None or field.largest_area_mm2(voxels) > LARGEST_AREA_MM2
    if voxels is None or is_cut:
        voxels = _flood(field, seed, near=[seed, *background])
    # Without a bound on the count nothing is ever too much.
    voxels = np.empty((3, 0), np.intp) if voxels is None else voxels
    is_limited = False
    if is_cut or background:
        reach_mm = REACH_MM if is_cut else np.inf
        voxels, is_limited = _nearer(field, voxels, seed, background, reach_mm)
    if is_cut and _is_no_vessel(field, voxels):
        voxels = voxels[:, :0]
    return Island(voxels, is_cut, is_limited)


def _is_no_vessel(field: Field, voxels: Voxels) -> bool:
    volume_mm3 = voxels.shape[1] * float(np.prod(field.spacing_mm))
    return volume_mm3 > LARGEST_CUT_MM3 or field.largest_area_mm2(voxels) > LARGEST_CUT_AREA_MM2


def _flood(
    field: Field,
    seed: tuple[int, int, int],
    *,
    most: int | None = None,
    near: list[tuple[int, int, int]] | None = None,
) -> Voxels | None:
    """Follow candidates from a seed; None as soon as there are more than ``most``.

    The cost is that of the island, not of the volume. ``near`` leaves out what is farther
    than the reach from all of its voxels.
    """
    hu = np.asarray(field.hu).reshape(-1)
    shape = field.hu.shape
    steps = _steps(field.connectivity)
    low, high = np.asarray(field.low)[:, None], np.asarray(field.high)[:, None]
    # Zeroed memory is only taken where it is written.
    seen = np.zeros(hu.size, np.bool_)
    frontier = np.asarray(seed, np.intp)[:, None]
    seen[np.ravel_multi_index(seed, shape)] = True
    found, count = [frontier], 1
    while frontier.shape[1]:
        around = (frontier[:, :, None] + steps[:, None, :]).reshape(3, -1)
        around = around[:, ((around >= low) & (around < high)).all(axis=0)]
        if near is not None:
            around = around[:, _is_within_reach(field, around, near)]
        flat = np.ravel_multi_index(tuple(around), shape)
        flat = np.unique(flat[~seen[flat]])
        flat = flat[hu[flat] >= field.threshold_hu]
        seen[flat] = True
        frontier = np.stack(np.unravel_index(flat, shape))
        found.append(frontier)
        count += frontier.shape[1]
        if most is not None and count > most:
            return None
    return np.concatenate(found, axis=1)


def _steps(connectivity: int) -> Voxels:
    half = np.asarray(neighbour_offsets(connectivity), np.intp)
    return np.concatenate([half, -half]).T


def _is_within_reach(
    field: Field, voxels: Voxels, centres: list[tuple[int, int, int]]
) -> NDArray[np.bool_]:
    spacing = np.asarray(field.spacing_mm)[:, None, None]
    offsets = voxels[:, :, None] - np.asarray(centres, np.intp).T[:, None, :]
    distance = np.linalg.norm(offsets * spacing, axis=0)
    near: NDArray[np.bool_] = distance.min(axis=1, initial=np.inf) <= REACH_MM
    return near


def _nearer(
    field: Field,
    voxels: Voxels,
    seed: tuple[int, int, int],
    background: list[tuple[int, int, int]],
    reach_mm: float,
) -> tuple[Voxels, bool]:
    """Keep the voxels within reach of the seed that no background seed is nearer to.

    Returns:
        The voxels, and whether a background seed took any that are within reach.
    """
    pairs = voxel_pairs(voxels, field.connectivity)
    steps = voxels[:, pairs.first] - voxels[:, pairs.second]
    lengths = np.linalg.norm(steps * np.asarray(field.spacing_mm)[:, None], axis=0)
    count = voxels.shape[1]
    graph = coo_array((lengths, (pairs.first, pairs.second)), shape=(count, count)).tocsr()
    places = {place: index for index, place in enumerate(map(tuple, voxels.T.tolist()))}
    own = dijkstra(graph, directed=False, indices=[places[seed]], limit=reach_mm, min_only=True)
    others = [places[place] for place in background if place in places]
    is_near = np.isfinite(own)
    keep = is_near
    if others:
        other = dijkstra(graph, directed=False, indices=others, limit=reach_mm, min_only=True)
        keep = is_near & ~(other < own)
    kept: Voxels = voxels[:, keep]
    return kept, bool((is_near & ~keep).any())
