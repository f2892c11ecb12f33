"""Pools of candidates for the tests of this room."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from strategies.base import Candidates
from strategies.registry import get_strategy
from strategies.selection import select_batch


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


def draw(
    name: str, candidates: Candidates, count: int, rng: np.random.Generator, **options: float
) -> list[int]:
    """Choose a batch by the strategy of that name."""
    return select_batch(get_strategy(name), candidates, count, rng, options).tolist()


def count_first_places(
    name: str, candidates: Candidates, *, draws: int, seed: int, **options: float
) -> NDArray[np.int64]:
    """Count how often each image is served first over many draws of one generator."""
    rng = np.random.default_rng(seed)
    winners = [draw(name, candidates, 1, rng, **options)[0] for _ in range(draws)]
    return np.bincount(winners, minlength=len(candidates)).astype(np.int64)
