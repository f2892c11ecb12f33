"""Coronary arteries: centrelines in the grooves of the heart."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from app.calcium.phantom.geometry import Ellipsoid, Floats, Tube, bend_tube
from app.calcium.phantom.heart import Heart

RADII_MM = {"LM": (2.3, 2.1), "LAD": (1.9, 1.0), "LCX": (1.7, 0.9), "RCA": (2.0, 1.1)}
"""Radius at the origin and at the end of each artery."""

_LEFT_VENTRICLE, _RIGHT_VENTRICLE, _LEFT_ATRIUM, _RIGHT_ATRIUM = range(4)

_LAD_GROOVE = [(14, 0, -30), (24, 1, -28), (34, 1, -22), (44, 2, -13), (51, 2, -3)]
_LCX_GROOVE = [(-8, -22, -24), (-8, -36, -14), (-8, -44, -2), (-9, -42, 10)]
_LCX_POSTERIOR = [(-10, -34, 22), (-12, -18, 30), (-12, -4, 32)]
_RCA_GROOVE = [(-8, 26, -28), (-6, 40, -16), (-6, 46, 0), (-6, 42, 16), (-8, 28, 30)]
_CRUX = [(-10, 10, 35)]
_POSTERIOR_GROOVE = [(6, 4, 34), (20, 4, 31), (32, 4, 25)]

_WALL_GAP_MM = 1.3
"""Fat between the wall of an artery and the muscle below."""


@dataclass(frozen=True)
class Coronaries:
    """The coronary tree of one patient.

    Attributes:
        trunks: Centreline of each artery by name, from its origin on.
        branches: Side branches by the artery they belong to.
        left_dominant: Whether the posterior descending branch comes from the circumflex.
    """

    trunks: Mapping[str, Tube]
    branches: Mapping[str, tuple[Tube, ...]]
    left_dominant: bool

    def tubes(self, artery: str) -> tuple[Tube, ...]:
        """Return the trunk and the side branches of an artery."""
        return (self.trunks[artery], *self.branches.get(artery, ()))


def draw_coronaries(heart: Heart, rng: np.random.Generator) -> Coronaries:
    """Draw the coronary tree of a heart."""
    left_dominant = bool(rng.random() < 0.15)
    ventricles = (heart.chambers[_LEFT_VENTRICLE], heart.chambers[_RIGHT_VENTRICLE])
    left = (heart.chambers[_LEFT_VENTRICLE], heart.chambers[_LEFT_ATRIUM])
    right = (heart.chambers[_RIGHT_VENTRICLE], heart.chambers[_RIGHT_ATRIUM])
    posterior = _groove(heart, _POSTERIOR_GROOVE, ventricles, rng)
    crux = _groove(heart, _CRUX, right, rng)

    fork = heart.at(np.array([18.0, -7.0, 22.0]) + rng.normal(0.0, [2.0, 1.5, 1.0]))
    lm = heart.at(np.array([[8.5, 1.0, 22.0], [13.5, -2.0, 22.5]]))
    lad = _groove(heart, _LAD_GROOVE[: int(rng.integers(4, 6))], ventricles, rng)
    lcx = _groove(heart, _LCX_GROOVE, left, rng)
    if left_dominant:
        lcx = np.vstack([lcx, _groove(heart, _LCX_POSTERIOR, left, rng), posterior])
    elif rng.random() < 0.5:
        lcx = np.vstack([lcx, _groove(heart, _LCX_POSTERIOR[:1], left, rng)])
    rca_start = heart.at(np.array([[-9.0, -17.0, 20.0], [-14.0, -22.0, 21.0]]))
    rca = np.vstack([rca_start, _groove(heart, _RCA_GROOVE, right, rng)])
    if not left_dominant:
        rca = np.vstack([rca, crux, posterior])
    trunks = {
        "LM": _lay("LM", np.vstack([lm, fork[None]]), heart, rng),
        "LAD": _lay("LAD", np.vstack([fork[None], lad]), heart, rng),
        "LCX": _lay("LCX", np.vstack([fork[None], lcx]), heart, rng),
        "RCA": _lay("RCA", rca, heart, rng),
    }
    return Coronaries(trunks, _branches(trunks, heart, rng), left_dominant)


def _groove(
    heart: Heart,
    waypoints: list[tuple[int, int, int]],
    walls: tuple[Ellipsoid, Ellipsoid],
    rng: np.random.Generator,
) -> Floats:
    """Place waypoints, then slide them to where two chambers are equally near."""
    points = heart.in_frame(np.array(waypoints) + rng.normal(0.0, 1.5, (len(waypoints), 3)))
    target = RADII_MM["LAD"][0] + _WALL_GAP_MM
    return _slide(points, walls, target)


def _slide(points: Floats, walls: tuple[Ellipsoid, ...], target_mm: float) -> Floats:
    """Move points to ``target_mm`` from every wall by damped Gauss-Newton steps."""
    for _ in range(8):
        values = np.stack([_distance(wall, points) for wall in walls], axis=1)
        slopes = np.stack([wall.gradient(points) for wall in walls], axis=1)
        steps = np.linalg.pinv(slopes, rcond=0.05) @ (target_mm - values)[..., None]
        points = points + np.clip(steps[..., 0], -4.0, 4.0)
    return points


def _distance(wall: Ellipsoid, points: Floats) -> Floats:
    """Return the signed distance of points (N, 3), shape (N,)."""
    return wall.distance(points[:, 0], points[:, 1], points[:, 2])


def _lay(artery: str, waypoints: Floats, heart: Heart, rng: np.random.Generator) -> Tube:
    """Lay an artery through its waypoints, winding a little, and keep it off the muscle."""
    tube = bend_tube(waypoints, RADII_MM[artery])
    along = np.linspace(0.0, 1.0, len(tube.points))
    waves = np.zeros_like(tube.points)
    for harmonic in range(2, 6):
        phase = rng.uniform(0.0, 2 * np.pi, 3)
        height = rng.normal(0.0, 1.6 / harmonic, 3)
        waves += height * np.sin(np.pi * harmonic * along[:, None] + phase)
    # The ends stay: the left arteries meet in one fork, and the origins in the aorta.
    waves *= np.minimum(1.0, 6.0 * along * (1.2 - along))[:, None] * (tube.length_mm > 30)
    return Tube(_push_out(tube.points + waves, tube.radii, heart), tube.radii)


def _push_out(points: Floats, radii: Floats, heart: Heart) -> Floats:
    """Lift points off the chambers they would run through."""
    for _ in range(4):
        for chamber in heart.chambers:
            missing = np.maximum(0.0, radii + _WALL_GAP_MM - _distance(chamber, points))
            points = points + missing[:, None] * chamber.gradient(points)
    return points


def _branches(
    trunks: Mapping[str, Tube], heart: Heart, rng: np.random.Generator
) -> dict[str, tuple[Tube, ...]]:
    """Draw a diagonal and a marginal branch over the left ventricle."""
    apex = heart.in_frame(np.array([40.0, -30.0, -6.0]))
    return {
        artery: (_branch(trunks[artery], apex, rng.uniform(*range_), heart),)
        for artery, range_ in (("LAD", (0.25, 0.45)), ("LCX", (0.35, 0.6)))
    }


def _branch(trunk: Tube, toward: Floats, fraction: float, heart: Heart) -> Tube:
    """Lead a branch from a trunk part of the way to a point, along the muscle."""
    start = trunk.points[int(fraction * (len(trunk.points) - 1))]
    at = np.linspace(0.0, 0.7, 6)[:, None]
    tube = bend_tube(start + at * (toward - start), (1.1, 0.7))
    lift = _push_out(tube.points, tube.radii, heart)
    return Tube(lift, tube.radii)
