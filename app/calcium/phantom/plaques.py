"""Calcified plaques of a drawn Agatston class, in the walls of the arteries."""

from dataclasses import dataclass

import numpy as np

from app.calcium.labels import ARTERIES
from app.calcium.phantom.config import SCORE_CLASSES
from app.calcium.phantom.geometry import Body, Ellipsoid, Floats, Tube
from app.calcium.phantom.vessels import Coronaries

CLASS_SHARES = (0.40, 0.10, 0.20, 0.17, 0.13)
"""Share of patients in each of `SCORE_CLASSES`.

Between DISCHARGE (43 % zero, 14 % of 400 and more) and PROMISE (35 % and 15 %).
"""

CLASS_RANGES = {
    "1-10": (3.0, 10.0),
    "11-100": (12.0, 95.0),
    "101-400": (110.0, 390.0),
    ">400": (430.0, 2000.0),
}
"""Agatston scores that a class aims at."""

ARTERY_SHARES = {"LM": 0.09, "LAD": 0.50, "LCX": 0.17, "RCA": 0.24}
"""How often an artery is the first to calcify (MESA: LAD 44, RCA 12, LCX 10, LM 6 of 72)."""

_KERNEL_MM2 = 1.5
"""Area of the reconstruction kernel."""

_SEEN_MG_MM3 = 0.09
"""Density in mg/mm³ that lifts a fine voxel over the threshold; coarse ones hold more fat."""

_RESOLVED_MM = 1.35
"""Side of a voxel below which plaques have their natural size."""

_LARGEST_COUNT = 60
"""Ends the drawing of plaques whatever the target."""


@dataclass(frozen=True)
class Sampling:
    """How finely an image samples calcium.

    Attributes:
        pixel_mm: Side of a pixel.
        thickness_mm: Width of a slice.
    """

    pixel_mm: float
    thickness_mm: float

    @property
    def spread_mm3(self) -> float:
        """Volume over which the calcium of a point is spread."""
        return (self.pixel_mm**2 + _KERNEL_MM2) * self.thickness_mm

    @property
    def least_mg(self) -> float:
        """Mass of the smallest plaque that an image still shows."""
        return _SEEN_MG_MM3 * self.growth**2 * self.spread_mm3

    @property
    def agatston_per_mg(self) -> float:
        """Agatston score of a milligram of the plaques drawn here, about."""
        return 5.0 / (1.0 + self.spread_mm3 / 40.0)

    @property
    def growth(self) -> float:
        """How much larger plaques are drawn than in a patient, so that voxels resolve them."""
        side = float(np.cbrt(self.pixel_mm**2 * self.thickness_mm))
        return max(1.0, side / _RESOLVED_MM)


@dataclass(frozen=True)
class Deposit:
    """Calcium of one density.

    Attributes:
        body: Place and size.
        density_mg_cm3: Hydroxyapatite per volume.
        artery: Name of the coronary artery, or empty where it is not coronary.
    """

    body: Body
    density_mg_cm3: float
    artery: str = ""

    @property
    def mass_mg(self) -> float:
        """Analytic mass: density times volume."""
        return self.density_mg_cm3 * self.body.volume_mm3 / 1000.0


def draw_class(rng: np.random.Generator) -> str:
    """Draw an Agatston class of a screened population."""
    return SCORE_CLASSES[int(rng.choice(len(SCORE_CLASSES), p=CLASS_SHARES))]


def draw_plaques(
    coronaries: Coronaries, score_class: str, sampling: Sampling, rng: np.random.Generator
) -> tuple[Deposit, ...]:
    """Draw plaques until their mass meets a score of the class.

    Args:
        coronaries: Arteries the plaques lie in.
        score_class: One of `SCORE_CLASSES`.
        sampling: How finely the image will sample them; coarse voxels get fewer, larger ones.
        rng: Source of all draws.

    Returns:
        The plaques; none for class ``"0"``.
    """
    if score_class == SCORE_CLASSES[0]:
        return ()
    low, high = np.log(CLASS_RANGES[score_class])
    target = float(np.exp(rng.uniform(low, high))) / sampling.agatston_per_mg
    remaining = max(target, sampling.least_mg)
    severity = SCORE_CLASSES.index(score_class)
    arteries = _draw_arteries(severity, rng)
    plaques: list[Deposit] = []
    while remaining >= sampling.least_mg and len(plaques) < _LARGEST_COUNT:
        artery = arteries[0] if not plaques else str(rng.choice(arteries))
        grown = sampling.growth * (1.0 + 0.12 * (severity - 1))
        plaque = _draw_plaque(
            artery, coronaries.trunks[artery], grown, (sampling.least_mg, remaining), rng
        )
        plaques.append(plaque)
        remaining -= plaque.mass_mg
    return tuple(plaques)


def _draw_arteries(severity: int, rng: np.random.Generator) -> list[str]:
    """Draw the calcified arteries, the more the higher the class."""
    most = min(len(ARTERIES), severity)
    count = int(rng.integers(max(1, most - 1), most + 1))
    shares = np.array([ARTERY_SHARES[artery] for artery in ARTERIES])
    return [str(name) for name in rng.choice(ARTERIES, count, replace=False, p=shares)]


def _draw_plaque(
    artery: str,
    trunk: Tube,
    grown: float,
    range_mg: tuple[float, float],
    rng: np.random.Generator,
) -> Deposit:
    """Draw one plaque in the wall of an artery, with a mass in a range."""
    semi = draw_size(grown, rng)
    density = draw_density(rng)
    mass = density * 4.0 / 3.0 * np.pi * float(np.prod(semi)) / 1000.0
    semi = semi * (float(np.clip(mass, *range_mg)) / mass) ** (1.0 / 3.0)
    at = float(rng.beta(1.1, 2.6)) if artery != "LM" else float(rng.uniform(0.15, 0.9))
    body = wall_ellipsoid(trunk, at, semi, rng)
    return Deposit(body, density, artery)


def draw_size(grown: float, rng: np.random.Generator) -> Floats:
    """Draw half lengths along, across and around a wall, in mm, shape (3,)."""
    length = np.clip(np.exp(rng.normal(np.log(2.8), 0.55)), 1.0, 8.0)
    thick = np.clip(np.exp(rng.normal(np.log(1.5), 0.4)), 0.8, 3.0)
    sides: Floats = np.array([length, thick, thick * rng.uniform(1.0, 1.6)])
    return sides * grown / 2.0


def draw_density(rng: np.random.Generator) -> float:
    """Draw a density in mg/cm³."""
    return float(np.clip(np.exp(rng.normal(np.log(330.0), 0.5)), 200.0, 1000.0))


def wall_ellipsoid(
    trunk: Tube, fraction: float, semi: Floats, rng: np.random.Generator
) -> Ellipsoid:
    """Lay an ellipsoid along a tube, in its wall.

    Args:
        trunk: The tube.
        fraction: Place along the tube, 0 at the origin to 1.
        semi: Half lengths along the tube, across its wall and around it, shape (3,), in mm.
        rng: Draws the side of the wall.

    Returns:
        The ellipsoid, its outer side flush with the wall where it is thin.
    """
    last = len(trunk.points) - 1
    index = int(np.clip(round(fraction * last), 1, last - 1))
    along = trunk.points[index + 1] - trunk.points[index - 1]
    along = along / np.linalg.norm(along)
    outward = np.cross(along, rng.normal(0.0, 1.0, 3))
    outward = outward / np.linalg.norm(outward)
    offset = max(0.0, float(trunk.radii[index]) - semi[1] * 0.6)
    centre = trunk.points[index] + offset * outward
    return Ellipsoid(centre, np.stack([along, outward, np.cross(along, outward)]), semi)
