"""Image noise with the texture of filtered back-projection.

The in-plane autocorrelation at r mm is ``(1 - b u) exp(-u)`` with ``u = (r / s)²``: 0.83 at
0.42 mm, 0.5 at 0.8 mm, 0 at 1.5 mm and -0.07 beyond, as measured in the blood pool of
calcium scans. Its power spectrum is known in closed form; a coarse pixel grid folds it.
"""

import numpy as np
from scipy import fft

from app.calcium.phantom.geometry import Floats

TEXTURE_MM = 1.3
"""Scale s of the autocorrelation; it crosses zero at ``s / sqrt(b)``, 1.5 mm."""

TEXTURE_DIP = 0.75
"""Share b of the ramp-filtered part; the rest is low-frequency noise."""

SLICE_CORRELATION = 0.2
"""Correlation of neighbouring slices; 0.22 to 0.31 in scans, with some anatomy left in."""

_FOLDS = 3
"""Copies of the spectrum on either side that a coarse grid folds in."""


def autocorrelation(distance_mm: Floats) -> Floats:
    """Return the autocorrelation of the noise at in-plane distances in mm."""
    ratio = (distance_mm / TEXTURE_MM) ** 2
    correlation: Floats = (1.0 - TEXTURE_DIP * ratio) * np.exp(-ratio)
    return correlation


def draw_noise(shape: tuple[int, int, int], pixel_mm: float, rng: np.random.Generator) -> Floats:
    """Draw noise of unit standard deviation.

    Args:
        shape: Voxels along (Z, Y, X).
        pixel_mm: Side of a pixel.
        rng: Source of all draws.

    Returns:
        Noise, shape (Z, Y, X).
    """
    depth, height, width = shape
    amplitude = np.sqrt(_power(height, width, pixel_mm))
    # The mean square over all frequencies, with those that the half spectrum leaves out.
    weight = np.full(amplitude.shape[1], 2.0)
    weight[0] = 1.0
    if width % 2 == 0:
        weight[-1] = 1.0
    amplitude /= np.sqrt((amplitude**2 * weight).sum() / (height * width))
    # A moving average (1, c) has the correlation c / (1 + c²).
    c = (1.0 - np.sqrt(1.0 - 4.0 * SLICE_CORRELATION**2)) / (2.0 * SLICE_CORRELATION)
    noise = np.empty(shape)
    before = _filtered(height, width, amplitude, rng)
    for z in range(depth):
        now = _filtered(height, width, amplitude, rng)
        noise[z] = (now + c * before) / np.sqrt(1.0 + c * c)
        before = now
    return noise


def _filtered(height: int, width: int, amplitude: Floats, rng: np.random.Generator) -> Floats:
    """Filter one plane of white noise."""
    white = fft.rfft2(rng.standard_normal((height, width)))
    return np.asarray(fft.irfft2(white * amplitude, s=(height, width)), dtype=np.float64)


def _power(height: int, width: int, pixel_mm: float) -> Floats:
    """Return the folded power spectrum on the half plane of frequencies."""
    vertical = fft.fftfreq(height, pixel_mm)
    across = fft.rfftfreq(width, pixel_mm)
    power = np.zeros((height, across.size))
    for row in range(-_FOLDS, _FOLDS + 1):
        for column in range(-_FOLDS, _FOLDS + 1):
            squared = (vertical[:, None] + row / pixel_mm) ** 2 + (across + column / pixel_mm) ** 2
            ratio = (np.pi * TEXTURE_MM) ** 2 * squared
            power += (1.0 - TEXTURE_DIP + TEXTURE_DIP * ratio) * np.exp(-ratio)
    return power
