"""The images of a pool at one moment, as all strategies rank them."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from strategies.base import Candidates
from strategies.selection import Prepared

MEASURES: Final = (
    "clinical_uncertainty",
    "lesion_uncertainty",
    "agatston",
    "foreground_uncertainty",
    "entropy",
    "entropy_lm",
    "entropy_lad",
    "entropy_lcx",
    "entropy_rca",
    "lesion_count",
    "slice_count",
)
"""Columns of a prediction that are kept of every image; the index predictions_pool has them."""

_SLACK: Final = 100
"""A ranking is made anew when more than one in so many scored images changed."""


@dataclass(frozen=True, eq=False)
class RankedImages:
    """Hold what is known of N images; arrays are never changed.

    Attributes:
        ids: Ids.
        patient: Group numbers, shape (N,).
        measures: One row for each of ``MEASURES``, NaN where the active model version has not
            scored the image, shape (K, N).
        has_candidates: Whether a scored image has any voxel that may be calcium, shape (N,).
        has_artefact: Whether an image is spoilt by noise or metal, shape (N,).
        prediction: Ids of the predictions of the active model version, shape (N,).
        version: Id of the active model version, 0 for none.
        key: Key of the predictions, see ``app.prediction_keys``.
        step: Model versions before it.
        rankings: Rankings of these images by strategy and options, made when first asked for.
        earlier: Agatston score and clinical uncertainty by versions before, shape (2, N), read
            when first asked for; shared with what is known of the same images later.
    """

    ids: list[str]
    patient: NDArray[np.int64]
    measures: NDArray[np.float64]
    has_candidates: NDArray[np.bool_]
    has_artefact: NDArray[np.bool_]
    prediction: NDArray[np.int64]
    version: int
    key: str
    step: int
    rankings: dict[object, Prepared] = field(default_factory=dict)
    earlier: dict[int, NDArray[np.float64]] = field(default_factory=dict)

    def measure(self, name: str) -> NDArray[np.float64]:
        """Return one of the measures."""
        row: NDArray[np.float64] = self.measures[MEASURES.index(name)]
        return row

    @cached_property
    def candidates(self) -> Candidates:
        """What every strategy sees; the fields that cost something to have are None."""
        first_artery = MEASURES.index("entropy_lm")
        return Candidates(
            clinical_uncertainty=self.measure("clinical_uncertainty"),
            lesion_uncertainty=self.measure("lesion_uncertainty"),
            agatston=self.measure("agatston"),
            is_scored=~np.isnan(self.measure("agatston")),
            patient=self.patient,
            has_candidates=self.has_candidates,
            entropy=self.measure("entropy"),
            bald=self.measure("foreground_uncertainty"),
            artery_entropy=self.measures[first_artery : first_artery + 4].T,
            has_artefact=self.has_artefact,
            step=self.step,
        )

    @cached_property
    def unscored(self) -> Candidates:
        """The images without what is known of them, for strategies that do not ask."""
        nothing = np.zeros(len(self.ids))
        no_image = np.zeros(len(self.ids), dtype=np.bool_)
        return Candidates(nothing, nothing, nothing, no_image, self.patient, no_image)

    @cached_property
    def slack(self) -> int:
        """How many images may change before everything is ranked anew."""
        return int(np.count_nonzero(self.candidates.is_scored)) // _SLACK
