"""A pool of tiny hearts: one bright plaque in a region, enough to train on for seconds."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.calcium.labels import LABELS
from app.imaging.labelmap import write_label_map
from app.imaging.volume import Grid, Identifiers, Volume
from app.imaging.volume_writer import write_volume
from tests.factories import make_grid

SHAPE = (8, 32, 32)
"""Array shape (Z, Y, X)."""


def grid() -> Grid:
    """Return the grid of every image."""
    return make_grid(SHAPE, spacing_mm=(3.0, 1.0, 1.0))


def tiny_labels(seed: int) -> NDArray[np.uint8]:
    """Return what an expert would submit: 2 x 3 x 3 voxels of calcium in a region of the LAD."""
    labels = np.zeros(SHAPE, np.uint8)
    y, x = np.random.default_rng(seed).integers(8, 22, 2)
    labels[2:6, y - 3 : y + 5, x - 3 : x + 5] = LABELS["LAD_region"]
    labels[3:5, y : y + 3, x : x + 3] = LABELS["LAD"]
    return labels


def write_image(path: Path, seed: int) -> Path:
    """Write the image of ``tiny_labels(seed)`` in the format of the name."""
    hu = np.random.default_rng(seed).normal(-100, 20, SHAPE)
    hu[tiny_labels(seed) == LABELS["LAD"]] = 400
    who = Identifiers(patient_id=f"patient-{seed}")
    write_volume(path, Volume(hu.astype(np.int16), grid(), 120.0, who))
    return path


def write_label(path: Path, seed: int) -> Path:
    """Write ``tiny_labels(seed)`` in the format of the name."""
    write_label_map(path, tiny_labels(seed), grid(), compress=True, names=LABELS)
    return path


def write_pool(folder: Path, count: int) -> Path:
    """Write the images case_0, case_1 and so on; the number is the seed."""
    folder.mkdir()
    for seed in range(count):
        write_image(folder / f"case_{seed}.nii.gz", seed)
    return folder
