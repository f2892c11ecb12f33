"""How good a segmentation is, by counts, so that volumes can be added up."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Counts:
    """Voxels of one class found, invented and missed.

    Attributes:
        true_positive: Voxels that truth and prediction share.
        false_positive: Voxels only the prediction has.
        false_negative: Voxels only the truth has.
    """

    true_positive: int = 0
    false_positive: int = 0
    false_negative: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        """Add the counts of another volume."""
        return Counts(
            self.true_positive + other.true_positive,
            self.false_positive + other.false_positive,
            self.false_negative + other.false_negative,
        )

    @property
    def dice(self) -> float | None:
        """Dice coefficient, 0 to 1, which is also the volume F1; None when both are empty."""
        total = 2 * self.true_positive + self.false_positive + self.false_negative
        return 2 * self.true_positive / total if total else None


def count_voxels(prediction: ArrayLike, truth: ArrayLike) -> Counts:
    """Count the voxels of two boolean masks of equal shape."""
    predicted: NDArray[np.bool_] = np.asarray(prediction, dtype=bool)
    wanted: NDArray[np.bool_] = np.asarray(truth, dtype=bool)
    both = int(np.count_nonzero(predicted & wanted))
    return Counts(
        true_positive=both,
        false_positive=int(np.count_nonzero(predicted)) - both,
        false_negative=int(np.count_nonzero(wanted)) - both,
    )


def count_classes(prediction: ArrayLike, truth: ArrayLike, classes: int) -> list[Counts]:
    """Count the voxels of each foreground class of two label maps of equal shape."""
    predicted, wanted = np.asarray(prediction), np.asarray(truth)
    return [count_voxels(predicted == value, wanted == value) for value in range(1, classes)]


def mean_dice(counts: Iterable[Counts]) -> float | None:
    """Average Dice over the classes for which it is defined; None when there is none."""
    values = [dice for count in counts if (dice := count.dice) is not None]
    return sum(values) / len(values) if values else None
