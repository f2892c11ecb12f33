"""Predictions against what is known of the synthetic patients, and the figures of a round."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.calcium.agreement import icc_2_1, mean_absolute_error, volume_f1, weighted_kappa
from app.calcium.candidates import candidate_mask, threshold_hu
from app.calcium.labels import CALCIUM_LABELS
from app.calcium.risk import risk_index
from app.calcium.score import CalciumScores, calcium_scores
from app.imaging.geometry import match_label_to_grid
from app.imaging.labelmap import read_label_map
from app.imaging.orientation import to_axial
from app.imaging.reader import read_volume
from app.imaging.volume import Grid
from server.demo.answers import Prediction


@dataclass(frozen=True, eq=False)
class Scan:
    """A volume with one label map, in axial orientation.

    Attributes:
        hu: Hounsfield units, shape (Z, Y, X).
        labels: Canonical label values, shape (Z, Y, X).
        stored: Grid of the voxels in the order of the file.
        spacing_mm: Distance between voxel centres along (Z, Y, X), in millimetres.
        kvp: Tube voltage in kV, or None.
    """

    hu: NDArray[np.int16]
    labels: NDArray[np.uint8]
    stored: Grid
    spacing_mm: tuple[float, float, float]
    kvp: float | None

    @cached_property
    def calcium(self) -> NDArray[np.bool_]:
        """Voxels that count as calcium: labeled so, and above the threshold."""
        labeled = (self.labels > 0) & (self.labels <= max(CALCIUM_LABELS.values()))
        return labeled & candidate_mask(self.hu, threshold_hu(self.kvp))

    @property
    def scores(self) -> CalciumScores:
        """Calcium scores of the label map."""
        return calcium_scores(self.hu, self.labels, spacing_mm=self.spacing_mm, kvp=self.kvp)

    @property
    def voxel_mm3(self) -> float:
        """Volume of a voxel in mm³."""
        return float(np.prod(self.spacing_mm))


@dataclass(frozen=True)
class Comparison:
    """One prediction beside the truth.

    Attributes:
        shared_mm3: Volume of calcium that was found.
        invented_mm3: Volume wrongly called calcium.
        missed_mm3: Volume of calcium that was missed.
        changed_voxels: Voxels whose calcium label a corrector has to change.
        true_agatston: Agatston score of the oracle's label.
        found_agatston: Agatston score the server reported.
        interval: 5th and 95th percentile of the score over the samples, or None.
    """

    shared_mm3: float
    invented_mm3: float
    missed_mm3: float
    changed_voxels: int
    true_agatston: float
    found_agatston: float
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class Figures:
    """How well predictions agree with the truth over several patients.

    Attributes:
        volume_f1: F1 of the calcium volume over all patients, 0 to 1.
        agatston_icc: ICC(2,1) of the total Agatston score.
        agatston_mae: Mean absolute error of the total Agatston score.
        category_kappa: Linearly weighted kappa of the risk category.
        false_calcium: Patients without calcium in whom some was found.
        calcium_free: Patients without calcium.
        inside_interval: Patients whose true score lies in the 5-95 % interval.
        patients: All of them.
    """

    volume_f1: float
    agatston_icc: float
    agatston_mae: float
    category_kappa: float
    false_calcium: int
    calcium_free: int
    inside_interval: int
    patients: int


def load_scan(image: Path, label: Path) -> Scan:
    """Read an image and a label map that fits it."""
    volume = read_volume(image)
    matched = match_label_to_grid(read_label_map(label), volume.grid)
    hu, grid = to_axial(volume.hu, volume.grid)
    labels, _ = to_axial(matched.array.astype(np.uint8), volume.grid)
    return Scan(hu, labels, volume.grid, grid.spacing_mm, volume.kvp)


def predicted_scan(truth: Scan, mask: Path) -> Scan:
    """Return the same volume with a predicted mask in place of the truth."""
    matched = match_label_to_grid(read_label_map(mask), truth.stored)
    labels, _ = to_axial(matched.array.astype(np.uint8), truth.stored)
    return Scan(truth.hu, labels, truth.stored, truth.spacing_mm, truth.kvp)


def compare(truth: Scan, prediction: Prediction) -> Comparison:
    """Compare a prediction with the truth."""
    found = predicted_scan(truth, prediction.mask)
    table = prediction.table
    spread = table.distribution
    highest = max(CALCIUM_LABELS.values())
    # Only calcium: the weak regions are painted roughly and not corrected voxel by voxel.
    wanted_labels = np.where(truth.labels <= highest, truth.labels, 0)
    found_labels = np.where(found.labels <= highest, found.labels, 0)
    return Comparison(
        shared_mm3=int((truth.calcium & found.calcium).sum()) * truth.voxel_mm3,
        invented_mm3=int((found.calcium & ~truth.calcium).sum()) * truth.voxel_mm3,
        missed_mm3=int((truth.calcium & ~found.calcium).sum()) * truth.voxel_mm3,
        changed_voxels=int((wanted_labels != found_labels).sum()),
        true_agatston=truth.scores.total.agatston,
        found_agatston=table.total.agatston,
        interval=(spread.p5, spread.p95) if spread else None,
    )


def summarise(comparisons: Sequence[Comparison]) -> Figures:
    """Sum up the comparisons of at least two patients."""
    wanted = np.array([one.true_agatston for one in comparisons])
    found = np.array([one.found_agatston for one in comparisons])
    return Figures(
        volume_f1=volume_f1(
            sum(one.shared_mm3 for one in comparisons),
            sum(one.invented_mm3 for one in comparisons),
            sum(one.missed_mm3 for one in comparisons),
        ),
        agatston_icc=icc_2_1(wanted, found),
        agatston_mae=mean_absolute_error(wanted, found),
        category_kappa=weighted_kappa(risk_index(wanted), risk_index(found)),
        false_calcium=int(((wanted == 0) & (found > 0)).sum()),
        calcium_free=int((wanted == 0).sum()),
        inside_interval=sum(_is_inside(one) for one in comparisons),
        patients=len(comparisons),
    )


def _is_inside(one: Comparison) -> bool:
    return one.interval is not None and one.interval[0] <= one.true_agatston <= one.interval[1]
