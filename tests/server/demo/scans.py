"""A small scan with known calcium, and predictions about it."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.calcium.labels import CALCIUM_LABELS, LABELS
from app.imaging.labelmap import write_label_map
from app.imaging.volume import Grid
from server.demo.answers import Artery, CalciumTable, Distribution, Prediction
from server.demo.comparison import Scan

SPACING_MM = (3.0, 1.0, 1.0)
SHAPE = (4, 8, 8)


def grid() -> Grid:
    affine = np.diag([SPACING_MM[2], SPACING_MM[1], SPACING_MM[0], 1.0])
    return Grid(SHAPE, affine)


def scan(labels: NDArray[np.uint8] | None = None) -> Scan:
    """Make soft tissue with a block of 2 x 2 x 2 voxels of 200 HU, labeled LAD."""
    hu = np.full(SHAPE, 40, np.int16)
    hu[1:3, 2:4, 2:4] = 200
    truth = np.zeros(SHAPE, np.uint8)
    truth[1:3, 2:4, 2:4] = CALCIUM_LABELS["LAD"]
    return Scan(hu, truth if labels is None else labels, grid(), SPACING_MM, 120.0)


def prediction(folder: Path, labels: NDArray[np.uint8], agatston: float) -> Prediction:
    """Make what the server would send for a label map."""
    path = folder / "mask.nrrd"
    write_label_map(path, labels, grid(), compress=True, names=LABELS)
    return Prediction(path, table(agatston))


def table(agatston: float) -> CalciumTable:
    total = Artery(agatston=agatston, volume_mm3=1.0, mass_mg=0.5, lesions=1)
    spread = Distribution(samples=20, median=agatston, p5=agatston - 5, p95=agatston + 5)
    return CalciumTable(
        total=total,
        arteries={"LM": total, "LAD": total, "LCX": total, "RCA": total},
        risk_category="11-100",
        rule="agatston",
        distribution=spread,
    )
