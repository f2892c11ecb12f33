"""The label map that an expert would submit for a phantom."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from app.calcium.candidates import candidate_mask
from app.calcium.labels import ARTERIES, CALCIUM_LABELS, REGION_LABELS
from app.calcium.phantom.geometry import Floats, Plane
from app.calcium.phantom.rasterise import Frame
from app.calcium.phantom.vessels import Coronaries

SEEN_CALCIUM_HU = 30.0
"""A voxel belongs to a plaque if the plaque alone raises it by as much: noise does not."""

_SMOOTHING_MM = 1.8
_FAR_MM = 1e3
_EVERY_NEIGHBOUR = np.ones((3, 3, 3), dtype=bool)


def label_calcium(
    hu: NDArray[np.int16] | NDArray[np.float32],
    calcium_hu: Mapping[str, NDArray[np.float32]],
    extents: Mapping[str, NDArray[np.bool_]],
    threshold: int,
) -> NDArray[np.uint8]:
    """Label the plaque voxels that reach the threshold.

    Args:
        hu: Image, shape (Z, Y, X).
        calcium_hu: What the plaques of each artery add to the image, shape (Z, Y, X).
        extents: True extent of the plaques of each artery, shape (Z, Y, X).
        threshold: Candidate threshold, inclusive, in HU.

    Returns:
        Values of `CALCIUM_LABELS`, 0 elsewhere, shape (Z, Y, X): components of candidate
        voxels that touch the true extent of a plaque.
    """
    labels = np.zeros(hu.shape, dtype=np.uint8)
    strongest = np.full(hu.shape, SEEN_CALCIUM_HU, dtype=np.float32)
    candidates = candidate_mask(hu, threshold)
    for artery, added in calcium_hu.items():
        owned = added >= strongest
        strongest[owned] = added[owned]
        components, _ = ndimage.label(candidates & (added >= SEEN_CALCIUM_HU), _EVERY_NEIGHBOUR)
        touched = np.unique(components[extents[artery]])
        kept = np.isin(components, touched[touched > 0]) & owned
        labels[kept] = CALCIUM_LABELS[artery]
    return labels


def draw_regions(coronaries: Coronaries, frame: Frame, reach_mm: float) -> NDArray[np.uint8]:
    """Draw the surroundings of each artery as smooth blobs of single slices.

    Args:
        coronaries: Arteries to surround.
        frame: Voxels to draw on.
        reach_mm: Distance to the centreline that still belongs to the artery.

    Returns:
        Values of `REGION_LABELS`, 0 elsewhere, shape (Z, Y, X).
    """
    regions = np.zeros(frame.shape, dtype=np.uint8)
    values = np.array([0, *REGION_LABELS.values()], dtype=np.uint8)
    sigma = _SMOOTHING_MM / frame.pixel_mm
    for index, z in enumerate(frame.z):
        plane = Plane(frame.x, frame.y, float(z))
        distances = np.stack(
            [_nearest(coronaries.trunks[artery].points, plane, reach_mm) for artery in ARTERIES]
        )
        near = distances.min(axis=0)
        if near.min() > reach_mm:
            continue
        owner = np.where(near <= reach_mm, distances.argmin(axis=0) + 1, 0)
        parts = np.stack([owner == value for value in range(values.size)]).astype(np.float64)
        smooth = ndimage.gaussian_filter(parts, (0.0, sigma, sigma), mode="nearest")
        regions[index] = values[smooth.argmax(axis=0)]
    return regions


def _nearest(points: Floats, plane: Plane, reach_mm: float) -> Floats:
    """Return the distance of each pixel to the nearest centreline point within reach."""
    squared = np.full((plane.y.size, plane.x.size), _FAR_MM**2)
    # Points lie 0.5 mm apart; every second one is enough for a blob of 8 mm.
    for point in points[::2]:
        height = point[2] - plane.z
        if abs(height) > reach_mm:
            continue
        window = plane.window(point, reach_mm)
        dx, dy = plane.x[window[1]] - point[0], plane.y[window[0]] - point[1]
        part = squared[window]
        np.minimum(part, (dx * dx)[None, :] + (dy * dy)[:, None] + height**2, out=part)
    distance: Floats = np.sqrt(squared)
    return distance
