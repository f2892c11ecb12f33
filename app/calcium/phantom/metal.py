"""Metal in a patient, and the streaks it draws over the slices."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.calcium.phantom.geometry import Floats, Tube, bend_tube
from app.calcium.phantom.heart import Heart
from app.calcium.phantom.rasterise import Frame
from app.calcium.phantom.vessels import Coronaries

WIRES, LEAD, STENT = "sternal wires", "pacemaker lead", "stent"

SHARES = {WIRES: 0.06, LEAD: 0.04, STENT: 0.04}
"""Share of patients with each kind of metal."""

_WIRE_HU, _LEAD_HU, _STENT_HU = 9000.0, 7000.0, 900.0
_WIRE_DISTANCE_MM = 19.0
_REACH_MM = 32.0
"""Distance over which a streak halves."""


@dataclass(frozen=True)
class MetalPart:
    """One piece of metal.

    Attributes:
        name: Kind of metal.
        tube: Where it lies.
        hu: Attenuation before quantisation.
        streak_hu: Height of its streaks in HU.
        hollow_mm: Radius of the lumen; 0 where it is solid.
    """

    name: str
    tube: Tube
    hu: float
    streak_hu: float
    hollow_mm: float = 0.0


def draw_metal(
    heart: Heart,
    coronaries: Coronaries,
    sternum_y_mm: float,
    rng: np.random.Generator,
    *,
    certain: str | None = None,
) -> tuple[MetalPart, ...]:
    """Draw the metal of a patient; most have none but the kind that is certain."""
    chances = rng.random(len(SHARES))
    present = [
        name
        for name, chance in zip(SHARES, chances, strict=True)
        if chance < SHARES[name] or name == certain
    ]
    parts: list[MetalPart] = []
    if WIRES in present:
        parts += _wires(sternum_y_mm, rng)
    if LEAD in present:
        parts.append(_lead(heart, rng))
    if STENT in present:
        parts.append(_stent(coronaries, rng))
    return tuple(parts)


def add_streaks(
    image: NDArray[np.float32], parts: tuple[MetalPart, ...], frame: Frame, rng: np.random.Generator
) -> None:
    """Add bright and dark rays through each piece of metal, in place.

    Args:
        image: Noiseless image, shape (Z, Y, X), in HU.
        parts: Metal of the patient.
        frame: Where the voxels lie.
        rng: Draws the directions, the same in all slices as the edges of metal turn slowly.
    """
    for part in parts:
        count = int(rng.integers(6, 13))
        angles = np.sort(rng.uniform(0.0, np.pi, count))
        heights = part.streak_hu * rng.uniform(0.3, 1.0, count) * rng.choice([-1.0, 1.0], count)
        for index, z in enumerate(frame.z):
            points = part.tube.points
            met = points[np.abs(points[:, 2] - z) <= frame.thickness_mm / 2.0]
            if met.size:
                rays = _rays(met.mean(axis=0), angles, heights, frame)
                image[index] += rays.astype(np.float32)


def _rays(centre: Floats, angles: Floats, heights: Floats, frame: Frame) -> Floats:
    """Return rays through a point, shape (Y, X), in HU."""
    dx, dy = (frame.x - centre[0])[None, :], (frame.y - centre[1])[:, None]
    total = np.zeros((frame.y.size, frame.x.size))
    squared = dx * dx + dy * dy
    fading = 1.0 / (1.0 + squared / _REACH_MM**2)
    # A ray opens by two degrees, from a millimetre at the metal.
    width = 1.0 + 0.018 * np.sqrt(squared)
    for angle, height in zip(angles, heights, strict=True):
        across = dx * np.sin(angle) - dy * np.cos(angle)
        ratio = (across / width) ** 2
        total += height / (1.0 + ratio * ratio)
    rays: Floats = total * fading
    return rays


def _wires(sternum_y_mm: float, rng: np.random.Generator) -> list[MetalPart]:
    """Draw loops around the sternum."""
    turn = np.linspace(0.0, 2.0 * np.pi, 25)
    first = -60.0 + rng.uniform(0.0, _WIRE_DISTANCE_MM)
    loops = []
    for z in np.arange(first, 70.0, _WIRE_DISTANCE_MM):
        tilt = rng.normal(0.0, 2.0)
        x, y = 20.5 * np.cos(turn), sternum_y_mm + 8.0 * np.sin(turn)
        points = np.stack([x, y, z + tilt * np.cos(turn)], axis=1)
        loops.append(MetalPart(WIRES, bend_tube(points, (0.5, 0.5)), _WIRE_HU, 110.0))
    return loops


def _lead(heart: Heart, rng: np.random.Generator) -> MetalPart:
    """Draw a lead from the superior vena cava to the apex of the right ventricle."""
    apex = heart.in_frame(np.array([44.0, 14.0, 8.0]) + rng.normal(0.0, 3.0, 3))
    vein = heart.cava[0].points[::-1][[0, len(heart.cava[0].points) // 2, -1]]
    bend = heart.in_frame(np.array([[-20.0, 26.0, 6.0], [4.0, 22.0, 18.0]]))
    return MetalPart(
        LEAD, bend_tube(np.vstack([vein, bend, apex[None]]), (1.0, 1.0)), _LEAD_HU, 200.0
    )


def _stent(coronaries: Coronaries, rng: np.random.Generator) -> MetalPart:
    """Draw a stent in the first half of a large artery."""
    trunk = coronaries.trunks[str(rng.choice(["LAD", "LCX", "RCA"]))]
    start = int(rng.uniform(0.08, 0.3) * len(trunk.points))
    stop = start + int(rng.uniform(12.0, 22.0) / trunk.step_mm)
    points = trunk.points[start:stop]
    tube = Tube(points, np.full(len(points), 1.7), trunk.step_mm)
    return MetalPart(STENT, tube, _STENT_HU, 30.0, hollow_mm=1.1)
