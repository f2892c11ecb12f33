"""What a strategy sees of the pool, and what it answers."""

from dataclasses import dataclass, fields
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

_MEASURES = ("clinical_uncertainty", "lesion_uncertainty", "agatston")


@dataclass(frozen=True, eq=False)
class Candidates:
    """Hold the unlabeled images a strategy may rank, one array element per image.

    All arrays have shape (N,), N images, in the order in which the pool would be served
    without any strategy (longest not served first). The three measures are read only where
    ``is_scored`` holds, and may be NaN elsewhere. A score of another model version than the
    active one is not comparable, so its image comes in with ``is_scored`` False.

    Attributes:
        clinical_uncertainty: Standard deviation of log(1 + Agatston) over the samples, >= 0.
        lesion_uncertainty: Mutual information of the lesions, weighted by the Agatston score
            at stake, in nats, >= 0.
        agatston: Predicted (median) Agatston score, >= 0.
        is_scored: Whether the active model version has scored the image.
        patient: Group number; images with the same number show the same patient.
        has_candidates: Whether a scored image has any voxel that may be calcium.
    """

    clinical_uncertainty: NDArray[np.float64]
    lesion_uncertainty: NDArray[np.float64]
    agatston: NDArray[np.float64]
    is_scored: NDArray[np.bool_]
    patient: NDArray[np.int64]
    has_candidates: NDArray[np.bool_]

    def __post_init__(self) -> None:
        """Refuse arrays of different length, of the wrong kind, or with impossible measures."""
        expected_shape = (self.is_scored.size,)
        for field in fields(self):
            array = getattr(self, field.name)
            if array.shape != expected_shape:
                raise ValueError(
                    f"expected {field.name} of shape {expected_shape}, got {array.shape}"
                )
        for name in ("is_scored", "has_candidates"):
            # An integer array would be taken for indices where a mask is meant.
            if getattr(self, name).dtype != np.bool_:
                raise ValueError(f"expected {name} of type bool, got {getattr(self, name).dtype}")
        if self.patient.dtype.kind not in "iu":
            raise ValueError(f"expected integer patient numbers, got {self.patient.dtype}")
        for name in _MEASURES:
            _check_measure(name, getattr(self, name)[self.is_scored])

    def __len__(self) -> int:
        """Return the number of images."""
        return self.is_scored.size


class Strategy(Protocol):
    """Rank candidates: a utility for each, higher = label sooner.

    Returns finite utilities, float64, shape (N,), in the order of the candidates; an empty
    array for an empty pool. Draws only from ``rng`` and leaves the candidates unchanged.
    The generator must move on between calls: one that restarts from the same seed draws the
    same random share each time.
    """

    def __call__(self, candidates: Candidates, rng: np.random.Generator, /) -> NDArray[np.float64]:
        """Return the utilities of the candidates."""
        ...


def _check_measure(name: str, scored: NDArray[np.float64]) -> None:
    wrong = scored[~(np.isfinite(scored) & (scored >= 0))]
    if wrong.size:
        raise ValueError(f"expected finite {name} >= 0 of every scored image, got {wrong[0]}")
