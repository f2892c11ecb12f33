"""What a model version makes of the validation images, beside what people say."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import compress

import numpy as np
from numpy.typing import NDArray

Volumes = tuple[float, float, float]
"""Calcium in mm3: shared by person and prediction, invented by it, missed by it."""


@dataclass(frozen=True)
class CaseResult:
    """One validation image.

    Attributes:
        image_id: The image.
        patient: Whose image it is; a patient may have several.
        volumes: Calcium that is shared, invented and missed.
        wanted: Agatston score of each artery by the label, four numbers.
        predicted: Agatston score of each artery by the prediction, four numbers.
        samples: Total Agatston score of each stochastic sample; may be empty.
    """

    image_id: str
    patient: str
    volumes: Volumes
    wanted: tuple[float, ...]
    predicted: tuple[float, ...]
    samples: tuple[float, ...]

    @property
    def wanted_total(self) -> float:
        """Total Agatston score by the label."""
        return sum(self.wanted)

    @property
    def predicted_total(self) -> float:
        """Total Agatston score by the prediction."""
        return sum(self.predicted)


@dataclass(frozen=True)
class Results:
    """N validation images of P patients, as one model version sees them.

    Attributes:
        cases: The images, in the order of their labels.
    """

    cases: tuple[CaseResult, ...]

    @property
    def image_ids(self) -> tuple[str, ...]:
        """Ids of the images."""
        return tuple(case.image_id for case in self.cases)

    @cached_property
    def patients(self) -> tuple[str, ...]:
        """The patients, each once, in the order of their first image."""
        return tuple(dict.fromkeys(case.patient for case in self.cases))

    @cached_property
    def wanted(self) -> NDArray[np.float64]:
        """Agatston scores by the labels, shape (N, 4)."""
        return np.array([case.wanted for case in self.cases], np.float64)

    @cached_property
    def predicted(self) -> NDArray[np.float64]:
        """Agatston scores by the predictions, shape (N, 4)."""
        return np.array([case.predicted for case in self.cases], np.float64)

    @cached_property
    def weights(self) -> NDArray[np.float64]:
        """What each image counts for, shape (N,): those of a patient add up to one."""
        images = Counter(case.patient for case in self.cases)
        return np.array([1.0 / images[case.patient] for case in self.cases], np.float64)

    @cached_property
    def patient_volumes(self) -> NDArray[np.float64]:
        """Calcium that is shared, invented, missed in the mean image of a patient, shape (P, 3)."""
        means = np.zeros((len(self.patients), 3), np.float64)
        row = {patient: number for number, patient in enumerate(self.patients)}
        for case, weight in zip(self.cases, self.weights, strict=True):
            means[row[case.patient]] += weight * np.array(case.volumes)
        return means

    def those(self, is_wanted: NDArray[np.bool_]) -> "Results":
        """Return some of the images; a patient without any of them is left out."""
        return Results(tuple(compress(self.cases, is_wanted)))

    def first_of_each_patient(self) -> Sequence[CaseResult]:
        """Return one image a patient, the one that was labeled first."""
        first: dict[str, CaseResult] = {}
        for case in self.cases:
            first.setdefault(case.patient, case)
        return list(first.values())
