"""What a model says about each test patient, kept so that figures of any patients can be had.

A bootstrap draws patients again and again; it needs what every patient adds to each figure,
not the figures. `figures` of all patients equals what `app.evaluation` says of them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from app.calcium.agreement import icc_2_1, mean_absolute_error, volume_f1, weighted_kappa
from app.calcium.labels import ARTERIES
from app.calcium.risk import RISK_CATEGORIES, risk_category
from app.calcium.score import calcium_scores
from app.evaluation import EvaluationCase
from app.prediction.prediction import Prediction
from app.recipes import calcium
from app.settings import Settings

_TOUCHING: Final = np.ones((3, 3, 3), dtype=np.int64)
"""Voxels of one lesion touch by a face, an edge or a corner."""


class Column(IntEnum):
    """What is kept of a patient."""

    SHARED_MM3 = 0
    INVENTED_MM3 = 1
    MISSED_MM3 = 2
    TRUE_AGATSTON = 3
    FOUND_AGATSTON = 4
    LESIONS_FOUND = 5
    LESIONS_INVENTED = 6
    LESIONS_MISSED = 7
    REGION_SHARED = 8
    REGION_BOTH = 9


@dataclass(frozen=True)
class Figures:
    """Figures of several patients.

    Attributes:
        volume_f1: F1 of the calcium volume over all patients.
        lesion_f1: F1 of the lesions: one is found when any voxel of it is.
        agatston_icc: ICC(2,1) of the total Agatston score; NaN for a single patient.
        agatston_mae: Mean absolute error of the total Agatston score.
        category_kappa: Linearly weighted kappa of the risk category.
        false_calcium: Patients without calcium in whom some was predicted.
        region_dice: Dice of the artery regions, all arteries and patients together; NaN
            where no region was labeled or predicted.
    """

    volume_f1: float
    lesion_f1: float
    agatston_icc: float
    agatston_mae: float
    category_kappa: float
    false_calcium: float
    region_dice: float


FIGURES: Final = tuple(field.name for field in fields(Figures))
"""Names of all figures."""


def judge_patient(
    case: EvaluationCase, found: Prediction, settings: Settings
) -> NDArray[np.float64]:
    """Compare a prediction with the label, shape (C,): one value for each `Column`."""
    image = case.image
    reaches = image.hu >= image.threshold_hu
    wanted = calcium.is_calcium(case.labels) & reaches
    predicted = calcium.is_calcium(found.labels) & reaches
    shared = int((wanted & predicted).sum())
    voxels = np.array([shared, int(predicted.sum()) - shared, int(wanted.sum()) - shared])
    true_scores = calcium_scores(
        image.hu, case.labels, spacing_mm=image.spacing_mm, kvp=image.kvp, rule=settings.rule
    )
    row = np.zeros(len(Column))
    row[Column.SHARED_MM3 : Column.MISSED_MM3 + 1] = voxels * float(np.prod(image.spacing_mm))
    row[Column.TRUE_AGATSTON] = true_scores.total.agatston
    row[Column.FOUND_AGATSTON] = found.scores.total.agatston
    row[Column.LESIONS_FOUND : Column.LESIONS_MISSED + 1] = _count_lesions(wanted, predicted)
    row[Column.REGION_SHARED : Column.REGION_BOTH + 1] = _region_overlap(case.labels, found.labels)
    return row


def figures(table: NDArray[np.float64]) -> Figures:
    """Turn the rows of P patients, shape (P, C), into figures."""
    volumes = table[:, Column.SHARED_MM3 : Column.MISSED_MM3 + 1].sum(axis=0)
    lesions = table[:, Column.LESIONS_FOUND : Column.LESIONS_MISSED + 1].sum(axis=0)
    wanted, found = table[:, Column.TRUE_AGATSTON], table[:, Column.FOUND_AGATSTON]
    shared, both = table[:, (Column.REGION_SHARED, Column.REGION_BOTH)].sum(axis=0)
    return Figures(
        volume_f1=volume_f1(*volumes.tolist()),
        lesion_f1=volume_f1(*lesions.tolist()),
        agatston_icc=icc_2_1(wanted, found) if len(table) > 1 else math.nan,
        agatston_mae=mean_absolute_error(wanted, found),
        category_kappa=weighted_kappa(_categories(wanted), _categories(found)),
        false_calcium=float(((wanted == 0) & (found > 0)).sum()),
        region_dice=2 * float(shared) / float(both) if both else math.nan,
    )


def pooled_volume_f1(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the calcium volume F1 over patients, shape (..., P, C) to (...)."""
    volumes = table[..., Column.SHARED_MM3 : Column.MISSED_MM3 + 1].sum(axis=-2)
    shared = 2 * volumes[..., 0]
    both = shared + volumes[..., 1] + volumes[..., 2]
    found: NDArray[np.float64] = np.divide(shared, both, out=np.ones_like(both), where=both > 0)
    return found


def _count_lesions(wanted: NDArray[np.bool_], predicted: NDArray[np.bool_]) -> tuple[int, int, int]:
    """Count the lesions found, invented and missed."""
    true_lesions, true_count = ndimage.label(wanted, structure=_TOUCHING)
    own_lesions, own_count = ndimage.label(predicted, structure=_TOUCHING)
    found = np.unique(true_lesions[wanted & predicted]).size
    right = np.unique(own_lesions[wanted & predicted]).size
    return found, own_count - right, true_count - found


def _region_overlap(wanted: NDArray[np.uint8], found: NDArray[np.uint8]) -> tuple[int, int]:
    """Count the voxels of the arteries' regions shared by both maps, and in both together."""
    one, other = calcium.artery_of_voxels(wanted), calcium.artery_of_voxels(found)
    arteries = range(1, len(ARTERIES) + 1)
    shared = sum(int(((one == artery) & (other == artery)).sum()) for artery in arteries)
    return shared, int((one > 0).sum() + (other > 0).sum())


def _categories(agatston: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.array([RISK_CATEGORIES.index(risk_category(float(score))) for score in agatston])


def stack(rows: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Put the rows of patients into a table, shape (P, C)."""
    return np.stack(rows) if rows else np.empty((0, len(Column)))
