"""Movement of the coronary arteries while a slice is acquired."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.calcium.phantom.geometry import Floats, Plane, Tube
from app.calcium.phantom.rasterise import Frame

RELATIVE_PATH = {"LM": 0.35, "LAD": 0.5, "LCX": 0.7, "RCA": 1.0}
"""Path of each artery against that of the right one, which moves most."""

_COPIES_PER_MM = 1.2
_MOST_COPIES = 7

_LEAST_PATH_MM = 0.8
"""Shorter paths leave no artefact."""

_CRESCENT_MM = 1.6
"""Half width of a crescent."""


@dataclass(frozen=True)
class Motion:
    """Path of each artery.

    Attributes:
        path_mm: Path of the right coronary artery; 0 at rest.
        paths: From the start to the end of the acquisition by artery, shape (3,), in mm.
    """

    path_mm: float
    paths: Mapping[str, Floats]

    def offsets(self, artery: str) -> list[Floats]:
        """Return the places an artery takes, in equal shares of time; other names rest."""
        path = self.paths.get(artery)
        if path is None or not path.any():
            return [np.zeros(3)]
        length = float(np.linalg.norm(path))
        count = int(np.clip(np.ceil(1 + _COPIES_PER_MM * length), 3, _MOST_COPIES))
        return [path * share for share in np.linspace(-0.5, 0.5, count)]


def add_crescents(
    image: NDArray[np.float32],
    trunks: Mapping[str, Tube],
    motion: Motion,
    frame: Frame,
    rng: np.random.Generator,
) -> None:
    """Add a bright and a dark crescent on either side of each moving artery, in place.

    Args:
        image: Noiseless image, shape (Z, Y, X), in HU.
        trunks: Centreline of each artery.
        motion: How the arteries move; those at rest draw no crescents.
        frame: Where the voxels lie.
        rng: Draws the height of the crescents, 30 to 80 HU.
    """
    for artery, trunk in trunks.items():
        path = motion.paths[artery]
        length = float(np.linalg.norm(path[:2]))
        height = rng.uniform(30.0, 80.0) * rng.choice([-1.0, 1.0])
        if length < _LEAST_PATH_MM:
            continue
        side = np.array([-path[1], path[0]]) / length
        for index, z in enumerate(frame.z):
            nearest = int(np.abs(trunk.points[:, 2] - z).argmin())
            if abs(trunk.points[nearest, 2] - z) > frame.thickness_mm / 2.0:
                continue
            radius = float(trunk.radii[nearest]) + length / 2.0
            plane = Plane(frame.x, frame.y, float(z))
            window = plane.window(trunk.points[nearest], radius + 6.0)
            arc = _crescent(plane.crop(window), trunk.points[nearest], side, radius)
            image[index][window] += (height * arc).astype(np.float32)


def _crescent(plane: Plane, centre: Floats, side: Floats, radius_mm: float) -> Floats:
    """Return a ring of unit height, positive on one side and negative on the other."""
    dx, dy = (plane.x - centre[0])[None, :], (plane.y - centre[1])[:, None]
    distance = np.sqrt(dx * dx + dy * dy) + 0.1
    facing = (dx * side[0] + dy * side[1]) / distance
    ring = 1.0 / (1.0 + ((distance - radius_mm) / _CRESCENT_MM) ** 4)
    arc: Floats = ring * facing * np.abs(facing)
    return arc


def draw_motion(path_mm: float | None, rng: np.random.Generator) -> Motion:
    """Draw the movement of the arteries; most patients are scanned at rest."""
    drawn = float(rng.uniform(1.0, 5.0)) if rng.random() < 0.3 else float(rng.uniform(0.0, 0.5))
    path = drawn if path_mm is None else path_mm
    paths = {}
    for artery, share in RELATIVE_PATH.items():
        way = rng.normal(0.0, [1.0, 1.0, 0.4])
        paths[artery] = path * share * way / np.linalg.norm(way)
    return Motion(path, paths)
