"""The heart of one patient: chambers, great vessels, and the fat sac around them."""

from dataclasses import dataclass

import numpy as np

from app.calcium.phantom.geometry import (
    Ellipsoid,
    Floats,
    Plane,
    Tube,
    bend_tube,
    smooth_union,
)

LONG_AXIS = np.array([0.62, -0.60, -0.50])
"""From the base of the heart to its apex: to the left, forward and down."""

SEPTUM_NORMAL = np.array([-0.70, -0.60, -0.10])
"""From the left to the right ventricle, before it is made perpendicular to the long axis."""

CHAMBERS = {
    "left ventricle": ((16.0, -16.0, 0.0), (40.0, 30.0, 28.0)),
    "right ventricle": ((13.0, 18.0, 4.0), (43.0, 24.0, 31.0)),
    "left atrium": ((-34.0, -14.0, 0.0), (22.0, 27.0, 26.0)),
    "right atrium": ((-24.0, 24.0, 2.0), (25.0, 22.0, 29.0)),
}
"""Centre and half lengths in mm along (long axis, septum normal, downwards)."""

_SAC_ROUNDING_MM = 26.0
"""Width over which fat fills the grooves between the chambers."""


@dataclass(frozen=True)
class Heart:
    """Chambers and great vessels in the coordinates of the patient.

    Attributes:
        centre: Middle of the heart, shape (3,), in mm.
        rotation: Turns the standard heart into this one, shape (3, 3).
        scale: Size against the standard heart.
        fat_mm: Thickness of the fat over the chambers.
        chambers: The four chambers in the order of `CHAMBERS`.
        aorta: Ascending aorta from its root.
        pulmonary: Pulmonary trunk with its left and right artery.
        cava: Superior and inferior vena cava.
    """

    centre: Floats
    rotation: Floats
    scale: float
    fat_mm: float
    chambers: tuple[Ellipsoid, ...]
    aorta: Tube
    pulmonary: tuple[Tube, ...]
    cava: tuple[Tube, ...]

    def at(self, offset: Floats) -> Floats:
        """Turn offsets (..., 3) of the standard heart, in mm, into places of this patient."""
        placed: Floats = self.centre + self.scale * (offset @ self.rotation.T)
        return placed

    def in_frame(self, offset: Floats) -> Floats:
        """Turn (long axis, septum normal, downwards) offsets (..., 3) into places."""
        return self.at(offset @ heart_frame())

    def sac_distance(self, chamber_distances: list[Floats]) -> Floats:
        """Return the signed distance to the fat sac from those to the chambers."""
        left, right, left_atrium, right_atrium = chamber_distances
        ventricles = smooth_union(left, right, _SAC_ROUNDING_MM)
        atria = smooth_union(left_atrium, right_atrium, _SAC_ROUNDING_MM)
        sac: Floats = smooth_union(ventricles, atria, _SAC_ROUNDING_MM) - self.fat_mm
        return sac

    def chamber_distances(self, plane: Plane) -> list[Floats]:
        """Return the signed distance of each pixel to each chamber."""
        return [chamber.on_plane(plane) for chamber in self.chambers]


def heart_frame() -> Floats:
    """Return long axis, septum normal and the downward direction as orthonormal rows."""
    long_axis = LONG_AXIS / np.linalg.norm(LONG_AXIS)
    across = SEPTUM_NORMAL - (SEPTUM_NORMAL @ long_axis) * long_axis
    across = across / np.linalg.norm(across)
    return np.stack([long_axis, across, np.cross(long_axis, across)])


def draw_heart(rng: np.random.Generator) -> Heart:
    """Draw position, size, rotation and fat of a heart."""
    centre = np.array([22.0, -20.0, 0.0]) + rng.normal(0.0, [4.0, 3.0, 0.0])
    rotation = _rotation(rng.normal(0.0, [0.06, 0.07, 0.12]))
    scale = float(np.clip(rng.normal(1.0, 0.06), 0.88, 1.12))
    stretch = rng.normal(1.0, 0.05, (len(CHAMBERS), 3)).clip(0.9, 1.1)
    frame = heart_frame() @ rotation.T

    def place(offsets: list[tuple[float, float, float]]) -> Floats:
        return np.asarray(centre + scale * (np.array(offsets) @ rotation.T), dtype=np.float64)

    chambers = tuple(
        Ellipsoid(
            place([tuple(np.array(middle) @ heart_frame())])[0],
            frame,
            np.array(semi) * scale * factor,
        )
        for (middle, semi), factor in zip(CHAMBERS.values(), stretch, strict=True)
    )
    return Heart(
        centre=centre,
        rotation=rotation,
        scale=scale,
        fat_mm=float(rng.uniform(5.0, 9.0)),
        chambers=chambers,
        aorta=bend_tube(
            place([(-4, 0, 12), (-6, -2, 20), (-13, -9, 40), (-20, -9, 62), (-22, 2, 80)]),
            (15.5 * scale, 16.5 * scale),
            step_mm=2.0,
        ),
        pulmonary=(
            bend_tube(
                place([(0, -32, 6), (4, -31, 22), (8, -26, 36), (10, -10, 48), (14, 10, 52)]),
                (15.0 * scale, 11.0 * scale),
                step_mm=2.0,
            ),
            bend_tube(
                place([(8, -8, 50), (-12, 14, 50), (-38, 20, 48), (-58, 22, 44)]),
                (10.0 * scale, 7.0 * scale),
                step_mm=2.0,
            ),
        ),
        cava=(
            bend_tube(place([(-37, 0, 20), (-42, 2, 45), (-42, 0, 90)]), (9.5, 9.0), step_mm=2.0),
            bend_tube(
                place([(-34, 6, -8), (-36, 16, -30), (-36, 24, -70)]), (12.0, 12.5), step_mm=2.0
            ),
        ),
    )


def _rotation(angles: Floats) -> Floats:
    """Return the rotation by angles in radians about x, y and z."""
    turned = np.eye(3)
    for axis, angle in enumerate(angles):
        cos, sin = np.cos(angle), np.sin(angle)
        one = np.eye(3)
        first, second = (axis + 1) % 3, (axis + 2) % 3
        one[first, first] = one[second, second] = cos
        one[first, second], one[second, first] = -sin, sin
        turned = one @ turned
    return turned
