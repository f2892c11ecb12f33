"""Small volumes whose truth is known, and networks small enough to train in a test."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from models.network import NetworkConfig, small_network
from models.training.dataset import TrainingCase

SPACING_MM = (3.0, 2.0, 2.0)
THRESHOLD_HU = 130
SIDE = 48
SLICES = 6

_ARTERY_CENTRES = ((12, 12), (12, 34), (34, 12), (34, 34))
"""Row and column of the middle of each artery's region, LM to RCA."""


def tiny_network() -> NetworkConfig:
    return replace(
        small_network(),
        widths=(8, 12, 16),
        stem_width=6,
        head_width=6,
        neighbours=0,
        hu_windows=((-1000.0, 1000.0), (-200.0, 300.0)),
    )


def planted_volume(seed: int) -> tuple[NDArray[np.int16], NDArray[np.uint8], NDArray[np.uint8]]:
    """Plant soft tissue, fat around four arteries, calcium in the fat and bone outside it.

    Calcium and bone look alike; only the place tells them apart.
    """
    rng = np.random.default_rng(seed)
    hu = rng.normal(40.0, 10.0, (SLICES, SIDE, SIDE))
    region = np.zeros(hu.shape, np.uint8)
    lesion = np.zeros(hu.shape, np.uint8)
    for artery, (row, column) in enumerate(_ARTERY_CENTRES, start=1):
        place = np.s_[1:5, row - 6 : row + 6, column - 6 : column + 6]
        hu[place] -= 130.0
        region[place] = artery
        top, left = row + rng.integers(-4, 2), column + rng.integers(-4, 2)
        lesion[rng.integers(1, 4) :, top : top + 2, left : left + 2] = 1
    lesion[5] = 0
    hu[lesion > 0] = rng.uniform(200.0, 600.0)
    hu[:, 22:25, rng.integers(2, 40, 8)] = 400.0
    hu[:, rng.integers(2, 40, 8), 22:25] = 400.0
    return hu.astype(np.int16), region, lesion


def planted_case(seed: int, *, with_region: bool = True, with_lesion: bool = True) -> TrainingCase:
    hu, region, lesion = planted_volume(seed)
    return TrainingCase(
        hu=hu,
        region=region if with_region else None,
        lesion=lesion if with_lesion else None,
        spacing_mm=SPACING_MM,
        threshold_hu=THRESHOLD_HU,
        case_id=f"planted-{seed}",
    )
