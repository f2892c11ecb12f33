"""Changes of a slice that leave it a heart: small turns, scales, shifts, bends, noise and calcium.

There are no flips: the right coronary artery would come to lie on the left.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_BEND_KNOTS = 4
"""Knots along each side of the smooth random bend."""

METAL_HU = 3000.0
"""Attenuation that a piece of metal adds."""

_STREAK_HU = 200.0
"""Largest height of a streak, up or down."""

_STREAK_REACH = 0.15
"""Distance over which a streak halves, as a fraction of the side."""

_STREAK_OPENING = 0.018
"""Growth of a streak's half width with the distance: it opens by two degrees."""


_WIDTH_MM = (1.9, 3.8)
"""Half width of planted calcium: large pieces, of which labels have too few."""

_ELONGATION = 3.5
"""Largest length of planted calcium against its width."""

_PEAK_HU = (350.0, 1200.0)
"""Peak of planted calcium. With faint pieces a network takes noise and streaks for plaques."""

_EDGE = 0.05
"""Share of its peak below which planted calcium ends."""

_OVERHANG_MM = 1.6
"""How far a plaque may reach beyond the region of its artery."""

_CLEAR_MM = 5.0
"""Distance between an artery's region and the middle of calcium that is none of its own."""

_NEAR_MM = 19.0
"""Half of that calcium is planted within this distance of a region, where it is hard to tell."""

_SOFT_TISSUE_HU = -250.0
"""Calcium is planted into tissue, not into air or lung."""


@dataclass(frozen=True)
class AugmentationConfig:
    """Largest change of each kind; all changes are drawn uniformly within.

    Attributes:
        rotation_deg: Rotation to either side, in degrees.
        scale: Relative change of size, up or down.
        shift: Shift along each axis, as a fraction of the side.
        bend: Displacement of the knots of a smooth bend, as a fraction of the side.
        hu_shift: Shift of all attenuation values, in HU.
        noise_hu: Standard deviation of added white noise, in HU.
        metal_chance: Share of slices that get a piece of metal with streaks. Few patients
            have metal, too few to learn from, and its streaks look like calcium.
        plaque_chance: Share of slices that get a plaque in an artery's region. Few labels
            have large plaques, and a network that has seen few misses them.
        distractor_chance: Share of slices that get calcium outside all regions.
    """

    rotation_deg: float = 10.0
    scale: float = 0.1
    shift: float = 0.06
    bend: float = 0.015
    hu_shift: float = 8.0
    noise_hu: float = 6.0
    metal_chance: float = 0.1
    plaque_chance: float = 0.08
    distractor_chance: float = 0.2


NO_AUGMENTATION = AugmentationConfig(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
"""Leaves every slice as it is."""


def draw_grid(
    size: tuple[int, int], config: AugmentationConfig, rng: np.random.Generator
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Draw where each pixel of a patch comes from.

    Values are taken from the nearest pixel, never interpolated: interpolation would smooth
    the noise and lower the peaks that decide which voxels are candidates.

    Args:
        size: Height and width of the patch.
        config: Largest changes.
        rng: Source of randomness.

    Returns:
        Row and column of the source of every pixel relative to the patch, each of shape
        ``size``; they can lie outside it.
    """
    angle = np.deg2rad(rng.uniform(-config.rotation_deg, config.rotation_deg))
    scale = 1.0 + rng.uniform(-config.scale, config.scale)
    shift = rng.uniform(-config.shift, config.shift, 2) * size
    rows, columns = _centred_grid(size)
    cosine, sine = np.cos(angle) * scale, np.sin(angle) * scale
    turned_rows = cosine * rows - sine * columns + shift[0]
    turned_columns = sine * rows + cosine * columns + shift[1]
    bend_rows, bend_columns = _draw_bend(size, config.bend, rng)
    return (
        _nearest(turned_rows + bend_rows, size[0]),
        _nearest(turned_columns + bend_columns, size[1]),
    )


def disturb_attenuation(
    hu: NDArray[np.float32], config: AugmentationConfig, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Shift the attenuation of a slab in HU and add noise to it."""
    shift = rng.uniform(-config.hu_shift, config.hu_shift)
    noise = rng.standard_normal(hu.shape, dtype=np.float32)
    sd = rng.uniform(0.0, config.noise_hu)
    changed: NDArray[np.float32] = hu + np.float32(shift) + noise * np.float32(sd)
    return changed


def draw_metal(
    size: tuple[int, int], config: AugmentationConfig, rng: np.random.Generator
) -> NDArray[np.float32] | None:
    """Draw a piece of metal and its streaks in the middle part of a slice.

    Returns:
        What it adds to the attenuation in HU, shape ``size``; None for most slices.
    """
    if rng.random() >= config.metal_chance:
        return None
    rows, columns = _centred_grid(size)
    down = rows - rng.uniform(-0.3, 0.3) * size[0]
    right = columns - rng.uniform(-0.3, 0.3) * size[1]
    squared = down**2 + right**2
    streaks = np.zeros(size)
    for _ in range(rng.integers(6, 13)):
        angle = rng.uniform(0.0, np.pi)
        across = right * np.sin(angle) - down * np.cos(angle)
        ratio = across / (1.0 + _STREAK_OPENING * np.sqrt(squared))
        streaks += rng.uniform(-_STREAK_HU, _STREAK_HU) / (1.0 + ratio**4)
    streaks /= 1.0 + squared / (_STREAK_REACH * max(size)) ** 2
    metal = np.where(squared <= rng.uniform(0.5, 2.5) ** 2, METAL_HU, streaks)
    return metal.astype(np.float32)


@dataclass(frozen=True, eq=False)
class PlantedCalcium:
    """A piece of calcium for a slice.

    Attributes:
        hu: Its attenuation, 0 where it is not, shape (Y, X).
        is_plaque: Whether it belongs to an artery.
    """

    hu: NDArray[np.float32]
    is_plaque: bool

    def put_into(self, slab: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        """Return a slab, shape (S, Y, X), with the piece in its middle slice.

        It fades in the slices above and below, to different depths.
        """
        fade = rng.uniform(0.0, 1.1, (len(slab),))
        fade[len(slab) // 2] = 1.0
        piece = fade[:, None, None] * self.hu
        changed: NDArray[np.float32] = np.where(self.hu > 0, np.maximum(slab, piece), slab)
        return changed.astype(np.float32)


def draw_calcium(
    region: NDArray[np.bool_],
    hu: NDArray[np.float32],
    spacing_mm: tuple[float, float],
    config: AugmentationConfig,
    rng: np.random.Generator,
) -> PlantedCalcium | None:
    """Draw a plaque within the regions of the arteries, or calcium outside them.

    Args:
        region: Where any artery's region is, shape (Y, X).
        hu: Attenuation of the slice, shape (Y, X).
        spacing_mm: Distance between pixel centres along (Y, X), in millimetres.
        config: How often.
        rng: Source of randomness.

    Returns:
        The piece; None for most slices, and where there is no place for it.
    """
    draw = rng.random()
    is_plaque = bool(draw < config.plaque_chance)
    if not is_plaque and draw >= config.plaque_chance + config.distractor_chance:
        return None
    outside_mm = _distance_mm(region, spacing_mm)
    places = np.argwhere(region if is_plaque else _elsewhere(outside_mm, hu, rng))
    if not len(places):
        return None
    piece = _draw_piece(places[rng.integers(len(places))], region.shape, spacing_mm, rng)
    if is_plaque:
        # Farther out it would be calcium of something else.
        piece = np.where(outside_mm <= _OVERHANG_MM, piece, np.float32(0))
    return PlantedCalcium(piece, is_plaque)


def _distance_mm(region: NDArray[np.bool_], spacing_mm: tuple[float, float]) -> NDArray[np.float64]:
    """Measure how far each pixel is from the region; infinitely far where there is none."""
    if not region.any():
        return np.full(region.shape, np.inf)
    return np.asarray(ndimage.distance_transform_edt(~region, sampling=spacing_mm), np.float64)


def _elsewhere(
    outside_mm: NDArray[np.float64], hu: NDArray[np.float32], rng: np.random.Generator
) -> NDArray[np.bool_]:
    places = (hu > _SOFT_TISSUE_HU) & (outside_mm > _CLEAR_MM)
    if rng.random() < 0.5 and np.isfinite(outside_mm).any():
        places &= outside_mm <= _NEAR_MM
    found: NDArray[np.bool_] = places
    return found


def _draw_piece(
    centre: NDArray[np.intp],
    size: tuple[int, ...],
    spacing_mm: tuple[float, float],
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Draw a flat-topped ellipse in any direction, its middle anywhere in a pixel."""
    rows = (np.arange(size[0])[:, None] - centre[0] - rng.uniform(-0.5, 0.5)) * spacing_mm[0]
    columns = (np.arange(size[1])[None, :] - centre[1] - rng.uniform(-0.5, 0.5)) * spacing_mm[1]
    angle = rng.uniform(0.0, np.pi)
    along = np.cos(angle) * rows + np.sin(angle) * columns
    across = np.cos(angle) * columns - np.sin(angle) * rows
    width = rng.uniform(*_WIDTH_MM)
    length = width * rng.uniform(1.0, _ELONGATION)
    shape = np.exp(-0.5 * ((along / length) ** 4 + (across / width) ** 4))
    peak = np.exp(rng.uniform(*np.log(_PEAK_HU)))
    piece: NDArray[np.float32] = np.where(shape > _EDGE, peak * shape, 0.0).astype(np.float32)
    return piece


def _centred_grid(size: tuple[int, int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rows = np.arange(size[0], dtype=np.float64) - (size[0] - 1) / 2
    columns = np.arange(size[1], dtype=np.float64) - (size[1] - 1) / 2
    return rows[:, None], columns[None, :]


def _draw_bend(
    size: tuple[int, int], bend: float, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    knots = rng.uniform(-bend, bend, (2, _BEND_KNOTS, _BEND_KNOTS))
    # Two small matrix products: an interpolation in general took a third of the time of a batch.
    rows, columns = _knot_weights(size[0]) @ knots @ _knot_weights(size[1]).T
    return rows * size[0], columns * size[1]


@lru_cache(maxsize=16)
def _knot_weights(length: int) -> NDArray[np.float64]:
    """Return how much of each knot a pixel takes in linear interpolation, rows adding up to 1."""
    places = (np.arange(length) + 0.5) * (_BEND_KNOTS / length) - 0.5
    distance = np.abs(np.clip(places, 0, _BEND_KNOTS - 1)[:, None] - np.arange(_BEND_KNOTS))
    weights: NDArray[np.float64] = np.maximum(1.0 - distance, 0.0)
    weights.flags.writeable = False
    return weights


def _nearest(coordinates: NDArray[np.float64], side: int) -> NDArray[np.intp]:
    nearest: NDArray[np.intp] = np.rint(coordinates + (side - 1) / 2).astype(np.intp)
    return nearest
