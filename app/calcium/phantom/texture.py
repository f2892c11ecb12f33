"""Smooth irregularity of outlines and tissues: sums of plane waves through space."""

from dataclasses import dataclass

import numpy as np

from app.calcium.phantom.geometry import Floats, Plane


@dataclass(frozen=True)
class Waves:
    """A smooth random field with mean 0 and standard deviation about 1.

    Attributes:
        numbers: Wave vectors, shape (N, 3), in radians per mm.
        phases: Phases, shape (N,), in radians.
    """

    numbers: Floats
    phases: Floats

    def on_plane(self, plane: Plane) -> Floats:
        """Return the field at each pixel, shape (Y, X)."""
        field = np.zeros((plane.y.size, plane.x.size))
        for (kx, ky, kz), phase in zip(self.numbers, self.phases, strict=True):
            across, down = kx * plane.x, ky * plane.y + (kz * plane.z + phase)
            # The sine of a sum, so that sines are only taken along the edges.
            field += np.outer(np.cos(down), np.sin(across))
            field += np.outer(np.sin(down), np.cos(across))
        field *= np.sqrt(2.0 / len(self.phases))
        return field


def draw_waves(lengths_mm: tuple[float, float], count: int, rng: np.random.Generator) -> Waves:
    """Draw a field whose irregularities have wave lengths in a range, in mm."""
    ways = rng.normal(0.0, 1.0, (count, 3))
    ways /= np.linalg.norm(ways, axis=1, keepdims=True)
    shortest, longest = (float(np.log(length)) for length in lengths_mm)
    lengths = np.exp(rng.uniform(shortest, longest, (count, 1)))
    return Waves(ways * (2.0 * np.pi / lengths), rng.uniform(0.0, 2.0 * np.pi, count))
