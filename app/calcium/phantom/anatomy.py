"""One patient: chest, heart and arteries, and the tissues as slices show them."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from app.calcium.phantom.geometry import Plane
from app.calcium.phantom.heart import Heart, draw_heart
from app.calcium.phantom.metal import MetalPart, draw_metal
from app.calcium.phantom.motion import Motion
from app.calcium.phantom.painting import Canvas
from app.calcium.phantom.rasterise import Frame
from app.calcium.phantom.texture import Waves, draw_waves
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
        metal: Wires, leads and stents.
        ripple: Irregularity of outlines.
        grain: Irregularity inside tissues.
    """

    thorax: Thorax
    heart: Heart
    coronaries: Coronaries
    metal: tuple[MetalPart, ...]
    ripple: Waves
    grain: Waves


def draw_anatomy(
    rng: np.random.Generator, *, metal: bool, metal_part: str | None = None
) -> Anatomy:
    """Draw the anatomy of a patient, with metal in few where it is allowed or one is named."""
    chest, chambers, tree, parts, waves = rng.spawn(5)
    thorax, heart = draw_thorax(chest), draw_heart(chambers)
    coronaries = draw_coronaries(heart, tree)
    return Anatomy(
        thorax=thorax,
        heart=heart,
        coronaries=coronaries,
        metal=draw_metal(heart, coronaries, thorax.sternum_y_mm, parts, certain=metal_part)
        if metal
        else (),
        ripple=draw_waves((22.0, 70.0), 7, waves),
        grain=draw_waves((3.5, 14.0), 9, waves),
    )


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
    canvas = Canvas(plane, anatomy.ripple.on_plane(plane), AIR_HU)
    thorax, heart = anatomy.thorax, anatomy.heart
    thorax.paint_wall(canvas)
    chambers = heart.chamber_distances(plane)
    sac = heart.sac_distance(chambers)
    canvas.paint(thorax.mediastinum_distance(plane, sac), FAT_HU, ripple_mm=1.8)
    thorax.paint_organs(canvas)
    thorax.paint_back_vessels(canvas)
    thorax.paint_bones(canvas)
    canvas.paint(sac - _PERICARDIUM_MM, 0.0, ripple_mm=0.9)
    canvas.paint(sac + _PERICARDIUM_MM, FAT_HU, ripple_mm=0.9)
    for tube in (*heart.pulmonary, *heart.cava):
        canvas.paint_tube(tube, BLOOD_HU)
    for chamber in heart.chambers:
        canvas.paint_ellipsoid(chamber, MYOCARDIUM_HU, ripple_mm=0.7)
        canvas.paint_ellipsoid(chamber, BLOOD_HU, inset_mm=8.0)
    canvas.paint_tube(heart.aorta, BLOOD_HU)
    _paint_coronaries(canvas, anatomy.coronaries, motion)
    canvas.hu += anatomy.grain.on_plane(plane) * _grain_hu(canvas.hu)
    for part in anatomy.metal:
        canvas.paint_tube(part.tube, part.hu)
        if part.hollow_mm:
            canvas.paint_tube(
                replace(part.tube, radii=part.tube.radii * 0.0 + part.hollow_mm), BLOOD_HU
            )
    return canvas.hu


def _grain_hu(hu: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how much a tissue varies: soft tissue little, lung more, marrow most."""
    lung = np.clip((-300.0 - hu) / 200.0, 0.0, 1.0)
    bone = np.clip((hu - 90.0) / 120.0, 0.0, 1.0)
    varies: NDArray[np.float64] = 4.0 + 20.0 * lung * (hu > AIR_HU) + 45.0 * bone
    return varies


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
