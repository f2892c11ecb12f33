"""Attenuation thresholds that make a voxel a calcium candidate."""

import math
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

DEFAULT_THRESHOLD_HU: Final = 130
"""Threshold of Agatston et al. 1990 at 120 kV, https://doi.org/10.1016/0735-1097(90)90282-T."""

THRESHOLD_HU_BY_KVP: Final = MappingProxyType({80: 167, 100: 147, 120: DEFAULT_THRESHOLD_HU})
"""Threshold in HU that finds at other tube voltages what 130 HU finds at 120 kV.

100 kV: phantom software of van Praagh et al., https://doi.org/10.1002/mp.14912.
80 kV: Slicer module CardiacAgatstonScoring of the BRAINSia project.
"""

_MONOENERGETIC_KEV: Final = range(40, 200, 10)
_MONOENERGETIC_HU: Final = (
    *(339, 229, 167, 132, 110, 97, 87, 81),
    *(77, 73, 71, 69, 67, 66, 65, 64),
)

THRESHOLD_HU_BY_KEV: Final = MappingProxyType(
    dict(zip(_MONOENERGETIC_KEV, _MONOENERGETIC_HU, strict=True))
)
"""Threshold in HU of virtual monoenergetic images by photon energy in keV.

Phantom software of van Praagh et al., https://doi.org/10.1002/mp.14912.
"""


@dataclass(frozen=True)
class Threshold:
    """A candidate threshold and what makes it doubtful.

    Attributes:
        hu: Threshold in HU.
        warning: A sentence where the threshold is a guess, else None.
    """

    hu: int
    warning: str | None = None


def threshold_for_kvp(kvp: float | None) -> Threshold:
    """Choose the threshold of a tube voltage, and say where it is only a guess.

    Args:
        kvp: Peak tube voltage in kV, or None when unknown.

    Returns:
        The published threshold; at an unknown voltage, or one without published
        threshold, the 130 HU of 120 kV with a warning.
    """
    if kvp is None or not math.isfinite(kvp) or kvp <= 0:
        return Threshold(
            DEFAULT_THRESHOLD_HU,
            f"tube voltage unknown, the {DEFAULT_THRESHOLD_HU} HU threshold of 120 kV was used",
        )
    hu = THRESHOLD_HU_BY_KVP.get(round(kvp))
    if hu is None:
        return Threshold(
            DEFAULT_THRESHOLD_HU,
            f"no published threshold for {kvp:g} kV, "
            f"the {DEFAULT_THRESHOLD_HU} HU threshold of 120 kV was used",
        )
    return Threshold(hu)


def threshold_hu(kvp: float | None) -> int:
    """Return the candidate threshold in HU; 130 where the voltage is unknown or unpublished."""
    return threshold_for_kvp(kvp).hu


def candidate_mask(hu: NDArray[Any], threshold_hu: float) -> NDArray[np.bool_]:
    """Mark the voxels that can be calcium.

    The threshold is inclusive: expert contours of public data hold voxels of exactly 130 HU.

    Args:
        hu: Hounsfield units, any shape.
        threshold_hu: Threshold in HU.

    Returns:
        True where ``hu >= threshold_hu``, the shape of ``hu``.
    """
    mask: NDArray[np.bool_] = hu >= threshold_hu
    return mask
