import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from strategies.base import Candidates
from strategies.ranking import (
    RANDOM_SHARE,
    combined_uncertainty,
    serve_uncertain,
    uncertainty_order,
)
from strategies.selection import select_top
from tests.strategies.factories import count_first_places, mixed_pool, pool


def test_clinical_and_lesion_ranks_count_alike() -> None:
    candidates = pool([0.1, 0.2, 9.0], lesion=[5.0, 3.0, 4.0])
    # Ranks 1 2 3 and 3 1 2: means 2, 1.5, 2.5, as shares of three images.
    np.testing.assert_allclose(combined_uncertainty(candidates), [2 / 3, 1.5 / 3, 2.5 / 3])


def test_an_image_without_candidates_has_no_uncertainty_and_does_not_shift_the_others() -> None:
    candidates = pool([0.1, 5.0, 0.2], has_candidates=[True, False, True])
    np.testing.assert_allclose(combined_uncertainty(candidates), [0.5, 0.0, 1.0])


def test_scored_images_are_ordered_by_uncertainty() -> None:
    order = uncertainty_order(pool([0.3, 0.9, 0.1, 0.5]), np.random.default_rng(0))
    assert order.tolist() == [1, 3, 0, 2]


@given(st.integers(0, 2**32 - 1))
def test_an_empty_image_is_never_the_most_uncertain(seed: int) -> None:
    candidates = pool([0.0, 0.01, 0.0], has_candidates=[False, True, False])
    assert uncertainty_order(candidates, np.random.default_rng(seed))[0] == 1


def share_served_first(candidates: Candidates, image: int, *, draws: int = 1500) -> float:
    counts = count_first_places(serve_uncertain, candidates, draws=draws, seed=17)
    return float(counts[image] / draws)


def test_an_empty_image_is_served_by_the_random_share_alone() -> None:
    # Strata 0 (the empty image) and 11-100 (three images): half of the random share each.
    candidates = pool(
        [0.0, 0.1, 0.2, 0.3],
        agatston=[0.0, 50.0, 50.0, 50.0],
        has_candidates=[False, True, True, True],
    )
    # 0.2 / 2 = 0.1; four standard deviations of 1500 draws are 0.031.
    assert share_served_first(candidates, 0) == pytest.approx(RANDOM_SHARE / 2, abs=0.031)


def test_the_most_uncertain_image_is_served_in_four_of_five_draws_and_its_random_share() -> None:
    # All four are in one stratum: 0.8 + 0.2 / 4 = 0.85; four standard deviations are 0.037.
    assert share_served_first(pool([0.1, 0.2, 0.9, 0.3]), 2) == pytest.approx(0.85, abs=0.037)


def test_every_batch_keeps_its_random_share() -> None:
    rng = np.random.default_rng(3)
    candidates = pool([float(value) for value in range(200)])
    from_the_end = 0
    for _ in range(300):
        batch = select_top(serve_uncertain(candidates, rng), 10, rng)
        from_the_end += int((batch < 100).sum())
    # Of 3000 places a fifth is drawn, half of these in the certain half: 300. The standard
    # deviation is sqrt(3000 * 0.1 * 0.9) = 16.
    assert from_the_end == pytest.approx(300, abs=66)


@pytest.mark.parametrize("unscored", [1, 3])
def test_unscored_images_are_served_as_often_as_they_are_frequent(unscored: int) -> None:
    candidates = pool([0.5] * 6, scored=[False] * unscored + [True] * (6 - unscored))
    rng = np.random.default_rng(8)
    first = [int(uncertainty_order(candidates, rng)[0]) for _ in range(1000)]
    assert chisquare(np.bincount(first, minlength=6)).pvalue > 0.001


def test_an_unscored_image_does_not_push_out_the_order_of_the_scored() -> None:
    candidates = pool([0.3, np.nan, 0.9, 0.1], scored=[True, False, True, True])
    for seed in range(20):
        order = uncertainty_order(candidates, np.random.default_rng(seed))
        assert order[order != 1].tolist() == [2, 0, 3]


def test_values_of_an_unscored_image_are_not_read() -> None:
    """Scores of another model version come in as unscored, whatever their numbers are."""
    stale = pool([0.3, 99.0, 0.2], agatston=[5, 900, 5], scored=[True, False, True])
    empty = pool([0.3, np.nan, 0.2], agatston=[5, np.nan, 5], scored=[True, False, True])
    for seed in range(20):
        np.testing.assert_array_equal(
            serve_uncertain(stale, np.random.default_rng(seed)),
            serve_uncertain(empty, np.random.default_rng(seed)),
        )


def test_a_pool_without_any_score_is_served_at_random() -> None:
    candidates = pool([np.nan] * 5, agatston=[np.nan] * 5, scored=[False] * 5)
    counts = count_first_places(serve_uncertain, candidates, draws=800, seed=9)
    assert chisquare(counts).pvalue > 0.001


def test_equal_uncertainties_are_served_at_random() -> None:
    counts = count_first_places(serve_uncertain, pool([0.0] * 5), draws=800, seed=9)
    assert chisquare(counts).pvalue > 0.001


def test_two_scans_of_a_patient_are_not_served_in_one_batch() -> None:
    rng = np.random.default_rng(4)
    candidates = mixed_pool()
    for _ in range(50):
        utilities = serve_uncertain(candidates, rng)
        batch = select_top(utilities, 5, rng, patient=candidates.patient)
        # Images 1 and 2 are equally uncertain scans of patient 2.
        assert sorted(candidates.patient[batch].tolist()) == [1, 2, 3, 4, 5]
