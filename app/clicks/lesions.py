"""The lesions at the clicks of an annotator."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from app.arrays import AxialImage
from app.calcium.components import label_components, voxel_pairs
from app.calcium.rules import get_rule
from app.clicks.islands import LARGEST_AREA_MM2, LARGEST_MM3, REACH_MM, Field, Voxels, island_at
from app.clicks.snapping import SNAP_MM, snap
from app.errors import InvalidInputError
from app.imaging.orientation import AxisMap, axial_map

Voxel = tuple[int, int, int]
"""Index (i, j, k) of a voxel in the order of the image's own file, i along a row."""

_NOTHING = (
    "nothing reaches {threshold} HU within {snap:g} mm of this click; move it onto the calcium"
)

_TOO_LARGE = (
    "what is here is larger than any lesion ({volume:g} mm3, {area:g} mm2 in a slice): bone or "
    "contrast-filled blood; cut it off by background clicks or a ROI, or paint by hand"
)

_CUT = (
    "the island is larger than any lesion and was cut {reach:g} mm around this click; "
    "check it, and cut off by background clicks what is no calcium"
)

_TAKEN = "a background click is nearer to everything here"


@dataclass(frozen=True)
class Clicks:
    """What an annotator pointed at.

    Attributes:
        foreground: Voxels on lesions.
        background: Voxels on what is no part of them.
        roi: Lowest and highest voxel of the box to stay within, both included; or None.
    """

    foreground: Sequence[Voxel]
    background: Sequence[Voxel] = ()
    roi: tuple[Voxel, Voxel] | None = None


@dataclass(frozen=True, eq=False)
class ClickedLesion:
    """What one foreground click gave.

    Attributes:
        click: The click as it came.
        voxels: Voxels of the axial volume, (z, y, x), shape (3, N); none without a lesion.
        is_cut: Whether only a part of an island is answered.
        note: A sentence for the annotator; empty where there is nothing to say.
    """

    click: Voxel
    voxels: Voxels = field(default_factory=lambda: np.empty((3, 0), np.intp))
    is_cut: bool = False
    note: str = ""

    @property
    def is_empty(self) -> bool:
        """Tell whether there is no lesion at the click."""
        return self.voxels.size == 0


def lesions_at(image: AxialImage, clicks: Clicks, *, rule: str) -> list[ClickedLesion]:
    """Find the lesion at each foreground click.

    Args:
        image: The image in axial orientation.
        clicks: What was clicked, in the order of the image's own file.
        rule: Name of the scoring rule, which says what neighbours are.

    Returns:
        One lesion a click, in their order; the same lesion twice where it was clicked twice.

    Raises:
        InvalidInputError: If the ROI lies outside the image.
    """
    field_ = _field(image, clicks.roi, get_rule(rule).spatial_connectivity)
    order = axial_map(image.stored)
    background = [
        seed
        for click in clicks.background
        if (seed := snap(field_, _axial(click, image, order))) is not None
    ]
    lesions: list[ClickedLesion] = []
    for click in clicks.foreground:
        seed = snap(field_, _axial(click, image, order))
        # An artery is clicked lesion by lesion, and every click comes again with the next one.
        known = None if background else _holding(lesions, seed)
        lesions.append(
            replace(known, click=click) if known else _lesion(field_, click, seed, background)
        )
    return lesions


def kept_lesions(
    image: AxialImage, clicks: Clicks, calcium: NDArray[np.bool_], *, rule: str
) -> Voxels:
    """Return what an annotator lets stand of calcium that was there before the clicks.

    Args:
        image: The image in axial orientation.
        clicks: What was clicked; a background click takes away the lesion that it is on.
        calcium: Calcium of before, shape (Z, Y, X); what is below the threshold is left out.
        rule: Name of the scoring rule, which says what neighbours are.

    Returns:
        Voxels (z, y, x), shape (3, N).
    """
    field_ = _field(image, None, get_rule(rule).spatial_connectivity)
    order = axial_map(image.stored)
    voxels = np.stack(np.unravel_index(np.flatnonzero(calcium), calcium.shape))
    voxels = voxels[:, image.hu[tuple(voxels)] >= image.threshold_hu]
    pairs = voxel_pairs(voxels, field_.connectivity)
    lesion = label_components(voxels.shape[1], pairs)
    keep = np.ones(voxels.shape[1], np.bool_)
    for click in clicks.background:
        seed = snap(field_, _axial(click, image, order))
        if seed is not None:
            hit = lesion[(voxels == np.asarray(seed)[:, None]).all(axis=0)]
            keep &= ~np.isin(lesion, hit)
    kept: Voxels = voxels[:, keep]
    return kept


def _holding(lesions: Sequence[ClickedLesion], seed: Voxel | None) -> ClickedLesion | None:
    """Return the whole island that holds a seed, if one was found already."""
    if seed is None:
        return None
    at = np.asarray(seed)[:, None]
    whole = (lesion for lesion in lesions if not lesion.is_cut)
    return next((known for known in whole if (known.voxels == at).all(axis=0).any()), None)


def _lesion(
    field_: Field,
    click: Voxel,
    seed: Voxel | None,
    background: list[Voxel],
) -> ClickedLesion:
    if seed is None:
        return ClickedLesion(
            click, note=_NOTHING.format(threshold=field_.threshold_hu, snap=SNAP_MM)
        )
    island = island_at(field_, seed, background)
    # A part of bone or of contrast-filled blood looks like any lesion, so none is answered
    # before the annotator has said where this one ends: clicks and boxes elsewhere say nothing.
    if island.is_cut and not island.is_limited:
        island = replace(island, voxels=island.voxels[:, :0])
    note = _CUT.format(reach=REACH_MM) if island.is_cut else ""
    if island.voxels.shape[1] == 0:
        sizes = {"volume": LARGEST_MM3, "area": LARGEST_AREA_MM2}
        note = _TOO_LARGE.format(**sizes) if island.is_cut else _TAKEN
    return ClickedLesion(click, island.voxels, island.is_cut, note)


def _axial(click: Voxel, image: AxialImage, order: AxisMap) -> tuple[int, int, int]:
    x, y, z = order.map_index(click, image.stored)
    return z, y, x


def _field(image: AxialImage, roi: tuple[Voxel, Voxel] | None, connectivity: int) -> Field:
    depth, height, width = image.hu.shape
    low, high = (0, 0, 0), (depth, height, width)
    if roi is not None:
        order = axial_map(image.stored)
        corners = np.asarray([_axial(corner, image, order) for corner in roi])
        first = np.maximum(corners.min(axis=0), 0)
        end = np.minimum(corners.max(axis=0) + 1, high)
        if (first >= end).any():
            raise InvalidInputError("roi: expected a box that meets the image, got one outside")
        low = (int(first[0]), int(first[1]), int(first[2]))
        high = (int(end[0]), int(end[1]), int(end[2]))
    return Field(image.hu, image.spacing_mm, image.threshold_hu, low, high, connectivity)
