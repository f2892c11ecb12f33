"""Pools of candidates for the tests of this room."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from strategies.base import Candidates, Strategy


def pool(
    clinical: Sequence[float],
    *,
    lesion: Sequence[float] | None = None,
    agatston: Sequence[float] | None = None,
    scored: Sequence[bool] | None = None,
    patient: Sequence[int] | None = None,
    has_candidates: Sequence[bool] | None = None,
) -> Candidates:
    """Build a pool; whatever is not given is the same for all images or follows `clinical`."""
    count = len(clinical)
    return Candidates(
        clinical_uncertainty=np.array(clinical, dtype=np.float64),
        lesion_uncertainty=np.array(clinical if lesion is None else lesion, dtype=np.float64),
        agatston=np.array([50.0] * count if agatston is None else agatston, dtype=np.float64),
        is_scored=np.array([True] * count if scored is None else scored, dtype=np.bool_),
        patient=np.array(range(count) if patient is None else patient, dtype=np.int64),
        has_candidates=np.array(
            [True] * count if has_candidates is None else has_candidates, dtype=np.bool_
        ),
    )


def mixed_pool() -> Candidates:
    """Build a pool with every kind of image: tied, unscored, empty, several scans a patient."""
    nan = float("nan")
    return pool(
        [0.9, 0.4, 0.4, 0.0, nan, nan],
        lesion=[0.2, 0.7, 0.7, 0.0, nan, nan],
        agatston=[5.0, 250.0, 900.0, 0.0, nan, nan],
        scored=[True, True, True, True, False, False],
        patient=[1, 2, 2, 3, 4, 5],
        has_candidates=[True, True, True, False, False, False],
    )


def reorder(candidates: Candidates, order: NDArray[np.int64]) -> Candidates:
    """Return the same images in another order."""
    return Candidates(
        clinical_uncertainty=candidates.clinical_uncertainty[order],
        lesion_uncertainty=candidates.lesion_uncertainty[order],
        agatston=candidates.agatston[order],
        is_scored=candidates.is_scored[order],
        patient=candidates.patient[order],
        has_candidates=candidates.has_candidates[order],
    )


def count_first_places(
    strategy: Strategy, candidates: Candidates, *, draws: int, seed: int
) -> NDArray[np.int64]:
    """Count how often each image is served first over many draws of one generator."""
    rng = np.random.default_rng(seed)
    winners = [int(strategy(candidates, rng).argmax()) for _ in range(draws)]
    return np.bincount(winners, minlength=len(candidates)).astype(np.int64)
