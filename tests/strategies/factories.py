"""Pools of candidates for the tests of this room."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from strategies.base import Candidates
from strategies.registry import get_strategy
from strategies.selection import draw_images, prepare, select_batch

_PATTERN = np.array([1.0, -1.0, 1.0, -1.0], np.float32)
"""How the samples of an image lie around their mean, in deviations."""


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
    spread = np.array(clinical, dtype=np.float64)
    scores = np.array([50.0] * count if agatston is None else agatston, dtype=np.float64)
    return Candidates(
        clinical_uncertainty=spread,
        lesion_uncertainty=np.array(clinical if lesion is None else lesion, dtype=np.float64),
        agatston=scores,
        is_scored=np.array([True] * count if scored is None else scored, dtype=np.bool_),
        patient=np.array(range(count) if patient is None else patient, dtype=np.int64),
        has_candidates=np.array(
            [True] * count if has_candidates is None else has_candidates, dtype=np.bool_
        ),
        entropy=spread,
        bald=spread,
        artery_entropy=np.repeat(spread[:, None], 4, axis=1),
        log_agatston=(2 * np.nanmax(spread, initial=0) + spread[:, None] * _PATTERN).astype(
            np.float32
        ),
        embedding=np.stack([spread, np.log1p(scores)], axis=1).astype(np.float32),
        expected_seconds=np.full(count, 60.0),
        version_agatston=np.stack([scores, scores + spread], axis=1),
        version_clinical_uncertainty=np.stack([spread, spread], axis=1),
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
    return [int(i) for i in select_batch(get_strategy(name), candidates, count, rng, options)]


def count_first_places(
    name: str, candidates: Candidates, *, draws: int, seed: int, **options: float
) -> NDArray[np.int64]:
    """Count how often each image is served first over many draws of one generator."""
    rng, strategy = np.random.default_rng(seed), get_strategy(name)
    ranked = prepare(strategy, candidates, strategy.read_options(options))
    is_open = np.ones(len(candidates), dtype=np.bool_)
    places = rng.random(draws).tolist()
    winners = [next(draw_images(ranked, is_open, (), [at], rng)).index for at in places]
    return np.bincount(winners, minlength=len(candidates)).astype(np.int64)
