"""What a label costs a person: the published seconds of a scan, more where there is more to do."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

SEMI_AUTOMATIC_S: Final = 59.0
"""Median of a semi-automatic calcium score, quartiles 35 and 100 (315 scans,
https://www.ncbi.nlm.nih.gov/pmc/articles/PMC7033052/)."""

CHECKED_S: Final = 36.0
"""Median of an automatic score that a person checks, quartiles 29 and 49 (same source)."""

SECONDS_PER_LESION: Final = 6.0
"""Time for one lesion more, assumed: to find it, click it and name the artery."""

_LEAST_S: Final = 10.0
"""Time to open a scan and look through it."""


@dataclass(frozen=True)
class CostModel:
    """Seconds of a label.

    The scan with the median number of lesions costs what is published; each lesion more or
    less changes that by `SECONDS_PER_LESION`.

    Attributes:
        median_lesions: Lesions of the middle scan of the pool.
    """

    median_lesions: float

    @classmethod
    def of_pool(cls, lesions: NDArray[np.int64]) -> "CostModel":
        """Take the median of the true lesions of a pool, shape (N,), N >= 1."""
        return cls(float(np.median(lesions)))

    def seconds(self, lesions: NDArray[np.int64], *, is_checked: bool) -> NDArray[np.float64]:
        """Return the seconds of each label, shape (N,).

        Args:
            lesions: Lesions of each image, shape (N,).
            is_checked: Whether a model's proposal is corrected; a first label is made without.
        """
        published = CHECKED_S if is_checked else SEMI_AUTOMATIC_S
        more = SECONDS_PER_LESION * (np.asarray(lesions, np.float64) - self.median_lesions)
        seconds: NDArray[np.float64] = np.maximum(published + more, _LEAST_S)
        return seconds
