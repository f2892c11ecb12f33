from dataclasses import replace

import numpy as np

from strategies.base import Candidates
from strategies.ensemble import disagreement
from tests.strategies.factories import draw, pool

NAN = np.nan


def versions(agatston: list[list[float]], spread: list[list[float]] | None = None) -> Candidates:
    scores = np.array(agatston)
    spreads = np.where(np.isnan(scores), NAN, 0.1) if spread is None else np.array(spread)
    candidates = pool([0.1] * len(scores), agatston=scores[:, 0].tolist())
    return replace(candidates, version_agatston=scores, version_clinical_uncertainty=spreads)


def ranked(candidates: Candidates, **options: float) -> list[int]:
    rng = np.random.default_rng(0)
    return draw("ensemble", candidates, len(candidates), rng, random_share=0.0, **options)


def test_images_that_the_versions_disagree_about_come_first() -> None:
    assert ranked(versions([[50, 50, 50], [50, 60, 40], [50, 0, 900]])) == [2, 1, 0]


def test_disagreement_counts_as_much_as_doubt() -> None:
    # Ranks of disagreement 1 2 3 4, of mean doubt 2 4 1 3: sums 3, 6, 4, 7.
    candidates = versions(
        [[50, 50], [50, 60], [50, 90], [50, 900]],
        [[0.1, 0.3], [0.5, 0.5], [0.1, 0.1], [0.4, 0.3]],
    )
    assert ranked(candidates) == [3, 1, 2, 0]


def test_only_as_many_versions_are_asked_as_wanted() -> None:
    candidates = versions([[50, 55, 50], [50, 50, 900]])
    assert ranked(candidates, versions=2) == [0, 1]
    assert ranked(candidates, versions=3) == [1, 0]


def test_with_one_version_it_ranks_by_uncertainty() -> None:
    candidates = replace(
        pool([0.2, 0.9, 0.4]),
        version_agatston=np.array([[50.0, NAN], [50.0, NAN], [50.0, NAN]]),
        version_clinical_uncertainty=np.array([[0.2, NAN], [0.9, NAN], [0.4, NAN]]),
    )
    assert ranked(candidates) == [1, 2, 0]


def test_disagreement_is_the_deviation_of_what_is_known() -> None:
    values = np.array([[1.0, 3.0, NAN], [2.0, NAN, NAN], [NAN, NAN, NAN], [1.0, 1.0, 4.0]])
    # Means 2 and 2: deviations 1 and sqrt((1 + 1 + 4) / 3).
    np.testing.assert_allclose(disagreement(values), [1.0, 0.0, 0.0, np.sqrt(2)])
