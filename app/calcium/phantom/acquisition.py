"""From attenuation to an image: reconstruction kernel, noise and quantisation."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from app.calcium.candidates import DEFAULT_THRESHOLD_HU, threshold_hu
from app.calcium.phantom.geometry import Floats
from app.calcium.phantom.rasterise import Frame

HU_PER_MG_CM3 = 1.39
"""Attenuation of hydroxyapatite above soft tissue at 120 kV, in HU per mg/cm³ (QRM phantom)."""

TISSUE_HU = 42.0
"""Attenuation that calcium adds to."""

LOWEST_HU, HIGHEST_HU = -1024, 3071
"""Range of a 12-bit reconstruction."""

_SIGMA_PER_FWHM = 1.0 / 2.3548
_OVERSHOOT = 0.12
_OVERSHOOT_WIDTH = 2.0


@dataclass(frozen=True)
class Scanner:
    """How an image is acquired and reconstructed.

    Attributes:
        kvp: Tube voltage in kV.
        noise_sd_hu: Standard deviation of the noise in the blood pool, in HU.
        kernel_fwhm_mm: Width of the in-plane reconstruction kernel.
        cupping_hu: Loss of attenuation in the middle of the body by beam hardening.
        padding_hu: Value outside the circle of reconstruction, or None without circle.
    """

    kvp: float
    noise_sd_hu: float
    kernel_fwhm_mm: float
    cupping_hu: float
    padding_hu: int | None

    @property
    def calcium_hu_per_mg_cm3(self) -> float:
        """Attenuation per density: the same density reaches the threshold at every voltage."""
        ratio = (threshold_hu(self.kvp) - TISSUE_HU) / (DEFAULT_THRESHOLD_HU - TISSUE_HU)
        return HU_PER_MG_CM3 * ratio


def draw_scanner(kvp: float | None, noise_sd_hu: float | None, rng: np.random.Generator) -> Scanner:
    """Draw a scanner and its dose; what is given stays."""
    drawn_kvp = 120.0 if rng.random() < 0.85 else 100.0
    drawn_sd = 10.0 + 20.0 * float(rng.beta(1.6, 3.2))
    width, cupping = float(rng.uniform(1.0, 1.3)), float(rng.uniform(0.0, 12.0))
    padding = (None, None, None, -1024, -2048)[int(rng.integers(5))]
    return Scanner(
        kvp=drawn_kvp if kvp is None else kvp,
        noise_sd_hu=drawn_sd if noise_sd_hu is None else noise_sd_hu,
        kernel_fwhm_mm=width,
        cupping_hu=cupping,
        padding_hu=padding,
    )


def blur(image: NDArray[np.float32], scanner: Scanner, pixel_mm: float) -> NDArray[np.float32]:
    """Reconstruct with a slightly sharp kernel: a Gaussian less a share of a wider one."""
    sigma = scanner.kernel_fwhm_mm * _SIGMA_PER_FWHM / pixel_mm
    narrow = ndimage.gaussian_filter(image, (0.0, sigma, sigma), mode="nearest")
    wide_sigma = sigma * _OVERSHOOT_WIDTH
    wide = ndimage.gaussian_filter(image, (0.0, wide_sigma, wide_sigma), mode="nearest")
    sharpened: NDArray[np.float32] = (1.0 + _OVERSHOOT) * narrow - _OVERSHOOT * wide
    return sharpened


def noise_level(frame: Frame) -> Floats:
    """Return the noise against that in the middle of the body, shape (Y, X)."""
    squared = _squared_radius(frame)
    level: Floats = 0.72 + 0.28 / (1.0 + squared)
    return level


def add_cupping(image: NDArray[np.float32], scanner: Scanner, frame: Frame) -> None:
    """Lower the middle of the body in place, as a hardened beam does."""
    tissue = np.clip(image / 200.0 + 1.0, 0.0, 1.0)
    image -= tissue * (scanner.cupping_hu / (1.0 + _squared_radius(frame))).astype(np.float32)


def quantise(image: Floats, scanner: Scanner, frame: Frame) -> NDArray[np.int16]:
    """Round to the integers of a 12-bit image and pad outside the circle."""
    hu = np.clip(np.rint(image), LOWEST_HU, HIGHEST_HU).astype(np.int16)
    if scanner.padding_hu is not None:
        x, y = frame.x - frame.x.mean(), frame.y - frame.y.mean()
        radius = frame.pixel_mm * frame.x.size / 2.0
        outside = x[None, :] ** 2 + y[:, None] ** 2 > radius**2
        hu[:, outside] = scanner.padding_hu
    return hu


def _squared_radius(frame: Frame) -> Floats:
    """Return the squared distance to the middle of the image in units of 90 mm, shape (Y, X)."""
    x, y = frame.x - frame.x.mean(), frame.y - frame.y.mean()
    squared: Floats = (x[None, :] ** 2 + y[:, None] ** 2) / 90.0**2
    return squared
