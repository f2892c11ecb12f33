"""Movement of the coronary arteries while a slice is acquired."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from app.calcium.phantom.geometry import Floats

RELATIVE_PATH = {"LM": 0.35, "LAD": 0.5, "LCX": 0.7, "RCA": 1.0}
"""Path of each artery against that of the right one, which moves most."""

_COPIES_PER_MM = 1.2
_MOST_COPIES = 7


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


def draw_motion(path_mm: float | None, rng: np.random.Generator) -> Motion:
    """Draw the movement of the arteries; most patients are scanned at rest."""
    drawn = float(rng.uniform(1.0, 5.0)) if rng.random() < 0.3 else float(rng.uniform(0.0, 0.5))
    path = drawn if path_mm is None else path_mm
    paths = {}
    for artery, share in RELATIVE_PATH.items():
        way = rng.normal(0.0, [1.0, 1.0, 0.4])
        paths[artery] = path * share * way / np.linalg.norm(way)
    return Motion(path, paths)
