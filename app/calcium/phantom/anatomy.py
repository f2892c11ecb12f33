"""One patient: chest, heart and arteries, and the tissues as slices show them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.calcium.phantom.geometry import Plane
from app.calcium.phantom.heart import Heart, draw_heart
from app.calcium.phantom.motion import Motion
from app.calcium.phantom.painting import Canvas
from app.calcium.phantom.rasterise import Frame
from app.calcium.phantom.thorax import AIR_HU, BLOOD_HU, FAT_HU, Thorax, draw_thorax
from app.calcium.phantom.vessels import Coronaries, draw_coronaries

CORONARY_HU = 40.0
MYOCARDIUM_HU = 46.0

_PERICARDIUM_MM = 0.6
"""Half thickness of the pericardium."""

_PLANE_DISTANCE_MM = 1.35
"""Planes averaged into a slice lie at most so far apart."""


@dataclass(frozen=True)
class Anatomy:
    """Everything in a patient but calcium.

    Attributes:
        thorax: Chest.
        heart: Heart.
        coronaries: Coronary arteries.
    """

    thorax: Thorax
    heart: Heart
    coronaries: Coronaries


def draw_anatomy(rng: np.random.Generator) -> Anatomy:
    """Draw the anatomy of a patient."""
    chest, chambers, tree = rng.spawn(3)
    heart = draw_heart(chambers)
    return Anatomy(draw_thorax(chest), heart, draw_coronaries(heart, tree))


def paint_tissues(anatomy: Anatomy, frame: Frame, motion: Motion) -> NDArray[np.float32]:
    """Paint all tissues but calcium.

    Args:
        anatomy: What to paint.
        frame: Voxels to paint on.
        motion: How the arteries move during the acquisition.

    Returns:
        Attenuation, shape (Z, Y, X), in HU, each slice averaged over its width.
    """
    count = max(2, int(np.ceil(frame.thickness_mm / _PLANE_DISTANCE_MM)))
    inner = ((np.arange(count) + 0.5) / count - 0.5) * frame.thickness_mm
    hu = np.zeros(frame.shape, dtype=np.float32)
    for index, z in enumerate(frame.z):
        for offset in inner:
            plane = Plane(frame.x, frame.y, float(z + offset))
            hu[index] += (_paint_plane(anatomy, plane, motion) / count).astype(np.float32)
    return hu


def _paint_plane(anatomy: Anatomy, plane: Plane, motion: Motion) -> NDArray[np.float64]:
    """Paint one infinitely thin plane."""
    canvas = Canvas(plane, AIR_HU)
    thorax, heart = anatomy.thorax, anatomy.heart
    thorax.paint_wall(canvas)
    chambers = heart.chamber_distances(plane)
    sac = heart.sac_distance(chambers)
    canvas.paint(thorax.mediastinum_distance(plane, sac), FAT_HU)
    thorax.paint_organs(canvas)
    thorax.paint_back_vessels(canvas)
    thorax.paint_bones(canvas)
    canvas.paint(sac - _PERICARDIUM_MM, 0.0)
    canvas.paint(sac + _PERICARDIUM_MM, FAT_HU)
    for tube in (*heart.pulmonary, *heart.cava):
        canvas.paint_tube(tube, BLOOD_HU)
    for chamber in heart.chambers:
        canvas.paint_ellipsoid(chamber, MYOCARDIUM_HU)
        canvas.paint_ellipsoid(chamber, BLOOD_HU, inset_mm=8.0)
    canvas.paint_tube(heart.aorta, BLOOD_HU)
    _paint_coronaries(canvas, anatomy.coronaries, motion)
    return canvas.hu


def _paint_coronaries(canvas: Canvas, coronaries: Coronaries, motion: Motion) -> None:
    """Paint the arteries at each place they take during the acquisition."""
    for artery in coronaries.trunks:
        offsets = motion.offsets(artery)
        covered = np.zeros_like(canvas.hu)
        for offset in offsets:
            once = np.zeros_like(canvas.hu)
            for tube in coronaries.tubes(artery):
                tube.moved(offset).cover(canvas.plane, once)
            covered += once / len(offsets)
        canvas.blend(covered, CORONARY_HU)
