"""Calcium scores of an expert's or a network's label map.

What counts. A voxel counts when its label is the calcium of an artery and it reaches the
threshold, so painting too far changes nothing. Voxels of groups below the minimum size of
the rule are no lesion and count in no score.

Lesions that span two arteries. Groups are formed over the calcium of all arteries, so size
and peak are common and each artery gets the score of its own voxels. Hence Agatston score,
volume and mass of the arteries add up to the total, and the total does not depend on where
the border between two arteries was drawn. The lesion count is of 3-D lesions with at least
one counted voxel: an artery counts every lesion it has such a voxel of, the total counts
each lesion once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from app.calcium.candidates import Threshold, threshold_for_kvp
from app.calcium.components import label_components, voxel_pairs
from app.calcium.labels import ARTERIES, LABELS
from app.calcium.risk import cac_drs, calcified_vessels, risk_category
from app.calcium.rules import DEFAULT_RULE, ScoringRule, get_rule
from app.calcium.weighing import (
    agatston_from_weights,
    candidate_values,
    connectivity,
    voxel_weights,
    without_dust,
)
from app.errors import InvalidInputError, LabelError

DEFAULT_MASS_FACTOR: Final = 0.000722
"""Milligrams of hydroxyapatite per mm³ and HU where no calibration rod was scanned.

A Canon scanner at 120 kV; 40 scans of one QRM phantom on scanners of four makers lie between
0.00071 and 0.00093 (MolloiLab/CAC-stanford-data), so masses of other scanners may be 30 % low.
"""


@dataclass(frozen=True)
class ArteryScore:
    """Calcium of one artery, or of all.

    Attributes:
        agatston: Agatston score.
        volume_mm3: Volume of the counted voxels in cubic millimetres.
        mass_mg: Mass of hydroxyapatite in milligrams.
        lesions: Number of 3-D lesions.
    """

    agatston: float
    volume_mm3: float
    mass_mg: float
    lesions: int

    def to_json(self) -> dict[str, float]:
        """Return the values by their names."""
        return {
            "agatston": self.agatston,
            "volume_mm3": self.volume_mm3,
            "mass_mg": self.mass_mg,
            "lesions": self.lesions,
        }


@dataclass(frozen=True)
class CalciumScores:
    """Calcium scores of one image.

    Attributes:
        total: Calcium of all arteries.
        arteries: Calcium of each artery, in canonical order.
        risk_category: Category of the total Agatston score.
        cac_drs: CAC-DRS category, for example ``A2/N3``.
        rule: Name of the scoring rule.
        threshold_hu: Candidate threshold in HU.
        warnings: Sentences about doubtful input.
    """

    total: ArteryScore
    arteries: Mapping[str, ArteryScore]
    risk_category: str
    cac_drs: str
    rule: str
    threshold_hu: int
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, object]:
        """Return the scores as JSON can hold them."""
        return {
            "total": self.total.to_json(),
            "arteries": {name: score.to_json() for name, score in self.arteries.items()},
            "risk_category": self.risk_category,
            "cac_drs": self.cac_drs,
            "rule": self.rule,
            "threshold_hu": self.threshold_hu,
            "warnings": list(self.warnings),
        }


def calcium_scores(
    hu: NDArray[Any],
    labels: NDArray[np.uint8],
    *,
    spacing_mm: tuple[float, float, float],
    kvp: float | None,
    rule: str | ScoringRule = DEFAULT_RULE,
    mass_factor: float = DEFAULT_MASS_FACTOR,
    threshold_hu: int | None = None,
) -> CalciumScores:
    """Score the labeled calcium of an axial volume.

    Args:
        hu: Hounsfield units, shape (Z, Y, X): slices, rows, columns.
        labels: Canonical label map, shape (Z, Y, X); regions and background do not count.
        spacing_mm: Distance between voxel centres along (Z, Y, X), in millimetres.
        kvp: Peak tube voltage in kV, which sets the threshold; None when unknown.
        rule: Name of a scoring rule, or a rule.
        mass_factor: Milligrams per mm³ and HU.
        threshold_hu: Threshold in HU that replaces the one of ``kvp``.

    Returns:
        All zero when no labeled voxel counts.

    Raises:
        LabelError: If the label map has another shape, or a value without meaning.
        InvalidInputError: If the rule, the spacing or the mass factor makes no sense.
    """
    _check_labels(hu, labels)
    _check_positive(spacing_mm, mass_factor)
    chosen = get_rule(rule) if isinstance(rule, str) else rule
    threshold = threshold_for_kvp(kvp) if threshold_hu is None else Threshold(threshold_hu)
    calcium = _collect(hu, labels, threshold.hu, chosen, spacing_mm)
    scores = _artery_scores(calcium, chosen, spacing_mm=spacing_mm, mass_factor=mass_factor)
    total = _total(scores, lesions=calcium.lesion_count())
    vessels = calcified_vessels(score.agatston for score in scores)
    return CalciumScores(
        total=total,
        arteries=MappingProxyType(dict(zip(ARTERIES, scores, strict=True))),
        risk_category=risk_category(total.agatston),
        cac_drs=cac_drs(total.agatston, vessels),
        rule=chosen.name,
        threshold_hu=threshold.hu,
        warnings=(threshold.warning,) if threshold.warning else (),
    )


@dataclass(frozen=True)
class _Calcium:
    """N labeled candidate voxels, what each weighs and which lesion it belongs to."""

    artery: NDArray[np.intp]
    hu: NDArray[np.float64]
    weight: NDArray[np.float64]
    lesion: NDArray[np.int32]

    def lesion_count(self, artery: int | None = None) -> int:
        """Count the lesions with a counted voxel, of one artery or of all."""
        chosen = self.weight > 0
        if artery is not None:
            chosen &= self.artery == artery
        return int(np.unique(self.lesion[chosen]).size)


def _collect(
    hu: NDArray[Any],
    labels: NDArray[np.uint8],
    threshold_hu: int,
    rule: ScoringRule,
    spacing_mm: tuple[float, float, float],
) -> _Calcium:
    """Gather the labeled candidate voxels and weigh them."""
    # One comparison for 1 <= label <= 4: in eight bits 0 - 1 wraps to 255.
    labeled = np.flatnonzero(labels - np.uint8(1) < len(ARTERIES))
    voxels = np.stack(np.unravel_index(labeled, labels.shape))
    values = hu[tuple(voxels)]
    reached = candidate_values(values, threshold_hu, rule)
    voxels, values = voxels[:, reached], values[reached]
    weight = voxel_weights(
        values,
        voxels[0],
        voxel_pairs(voxels, connectivity(rule)),
        rule=rule,
        spacing_mm=spacing_mm,
    )
    lesion = label_components(values.size, voxel_pairs(voxels, rule.spatial_connectivity))
    artery = labels[tuple(voxels)].astype(np.intp)
    return _Calcium(artery, values.astype(np.float64), weight, lesion)


def _artery_scores(
    calcium: _Calcium,
    rule: ScoringRule,
    *,
    spacing_mm: tuple[float, float, float],
    mass_factor: float,
) -> list[ArteryScore]:
    """Score each artery, in canonical order."""
    counted = calcium.weight > 0
    voxel_mm3 = float(np.prod(spacing_mm))
    agatston = agatston_from_weights(
        _per_artery(calcium, calcium.weight), rule=rule, spacing_mm=spacing_mm
    )
    volume_mm3 = _per_artery(calcium, counted) * voxel_mm3
    mass_mg = _per_artery(calcium, counted * calcium.hu) * voxel_mm3 * mass_factor
    return [
        ArteryScore(
            agatston=float(agatston[index]),
            volume_mm3=float(volume_mm3[index]),
            mass_mg=float(mass_mg[index]),
            lesions=calcium.lesion_count(index + 1),
        )
        for index in range(len(ARTERIES))
    ]


def _per_artery(calcium: _Calcium, values: NDArray[Any]) -> NDArray[np.float64]:
    """Sum a value of each voxel over the voxels of each artery, shape (4,)."""
    sums = np.bincount(calcium.artery, weights=values, minlength=len(ARTERIES) + 1)
    return sums[1:].astype(np.float64)


def _total(scores: list[ArteryScore], *, lesions: int) -> ArteryScore:
    """Add up the arteries; a lesion of two arteries is one lesion."""
    return ArteryScore(
        agatston=float(without_dust(np.sum([score.agatston for score in scores]))),
        volume_mm3=sum(score.volume_mm3 for score in scores),
        mass_mg=sum(score.mass_mg for score in scores),
        lesions=lesions,
    )


def _check_labels(hu: NDArray[Any], labels: NDArray[np.uint8]) -> None:
    """Raise unless the label map is a canonical one of this volume."""
    if hu.ndim != len("ZYX") or hu.shape != labels.shape:
        raise LabelError(
            f"expected a label map of the shape {hu.shape} of its volume, got {labels.shape}"
        )
    if labels.dtype != np.uint8:
        raise LabelError(f"expected a label map of 8-bit unsigned integers, got {labels.dtype}")
    highest = int(labels.max(initial=0))
    if highest > max(LABELS.values()):
        raise LabelError(f"expected label values from 0 to {max(LABELS.values())}, got {highest}")


def _check_positive(spacing_mm: tuple[float, float, float], mass_factor: float) -> None:
    """Raise unless spacing and mass factor are positive numbers."""
    values = np.asarray([*spacing_mm, mass_factor], np.float64)
    if values.size != len("ZYX") + 1 or not np.isfinite(values).all() or (values <= 0).any():
        raise InvalidInputError(
            f"expected positive spacing and mass factor, got {spacing_mm} mm and {mass_factor}"
        )
