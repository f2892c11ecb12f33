"""What spoils an image of a CT: noise and metal, measured without a model.

Motion is not measured: it shows in the arteries alone, and nothing finds those without one.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from app.imaging.orientation import to_axial
from app.imaging.volume import Volume

MAX_NOISE_SD_HU: Final = 25.0
"""More noise than this is flagged. Protocols prescribe 20 HU for small and medium patients and
23 HU for large ones (McCollough et al. 2007, doi:10.1148/radiol.2432050808); at 25 HU the
threshold of 130 HU is 3.5 standard deviations above blood."""

MAX_METAL_MM3: Final = 20.0
"""More metal than this is flagged: a wire, a lead or a clip; a thin stent does not show."""

_METAL_HU: Final = 2000
"""Calcium and bone stay below, metal reaches the end of the scale."""

_MOST_SLICES: Final = 8
"""Slices the noise is measured on; more change it by less than half a HU."""

_WINDOW_MM: Final = 6.0
_SOFT_HU: Final = (-100, 200)
_MEAN_HU: Final = (0, 100)
"""Windows that hold soft tissue alone, and whose mean is that of blood or muscle."""

_FEWEST_WINDOWS: Final = 1000
_BIN_HU: Final = 1.0
_MOST_HU: Final = 150.0


def measure_artefacts(volume: Volume) -> tuple[float | None, float]:
    """Measure the noise and the metal of a volume.

    Args:
        volume: Volume in any orientation.

    Returns:
        Standard deviation of the noise in soft tissue, in HU, None where there is too little
        soft tissue to tell; and the volume of metal in mm³.
    """
    hu, grid = to_axial(volume.hu, volume.grid)
    metal_mm3 = float(np.count_nonzero(hu >= _METAL_HU) * np.prod(grid.spacing_mm))
    return _noise_sd_hu(hu, grid.spacing_mm), metal_mm3


def is_spoilt(noise_sd_hu: float | None, metal_mm3: float | None) -> bool:
    """Tell whether an image of so much noise and metal is flagged; what is unknown is not."""
    return (noise_sd_hu or 0.0) > MAX_NOISE_SD_HU or (metal_mm3 or 0.0) > MAX_METAL_MM3


def _noise_sd_hu(hu: NDArray[np.int16], spacing_mm: tuple[float, float, float]) -> float | None:
    """Return the most frequent standard deviation of small windows in soft tissue.

    Edges and vessels make some windows differ more than the noise does, but no value is as
    frequent as that of the noise: the global noise level of Christianson et al. 2015,
    doi:10.2214/AJR.14.13613.
    """
    middles = np.linspace(0, hu.shape[0] - 1, 2 * min(_MOST_SLICES, hu.shape[0]) + 1)[1::2]
    size = tuple(max(3, round(_WINDOW_MM / step)) for step in spacing_mm[1:])
    found = np.concatenate([_window_sds(hu[round(z)], size) for z in middles])
    if found.size < _FEWEST_WINDOWS:
        return None
    counts, edges = np.histogram(found, np.arange(0.0, _MOST_HU + _BIN_HU, _BIN_HU))
    smooth = ndimage.gaussian_filter1d(counts.astype(np.float64), 1.5)
    return float(edges[smooth.argmax()] + _BIN_HU / 2)


def _window_sds(hu: NDArray[np.int16], size: tuple[int, ...]) -> NDArray[np.float64]:
    """Return the standard deviation of each window of soft tissue in a slice."""
    values = hu.astype(np.float64)
    is_soft = (hu > _SOFT_HU[0]) & (hu < _SOFT_HU[1])
    mean = ndimage.uniform_filter(values, size)
    variance = ndimage.uniform_filter(values * values, size) - mean * mean
    is_kept = ndimage.minimum_filter(is_soft, size) & (mean > _MEAN_HU[0]) & (mean < _MEAN_HU[1])
    found: NDArray[np.float64] = np.sqrt(np.maximum(variance[is_kept], 0.0))
    return found
