"""Tests of arms against each other, by hand and against scipy."""

import numpy as np
import pytest
from scipy import stats

from app.simulation.comparisons import (
    bootstrap_difference,
    holm,
    judge_equivalence,
    paired_t_test,
    penalty_matrix,
)

FIRST = [0.80, 0.84, 0.79, 0.83, 0.81]
SECOND = [0.78, 0.80, 0.78, 0.79, 0.80]


def mean_of(values: np.ndarray) -> float:
    return float(values.mean())


def test_paired_t_test_is_scipys() -> None:
    assert paired_t_test(FIRST, SECOND) == pytest.approx(stats.ttest_rel(FIRST, SECOND).pvalue)
    assert paired_t_test(FIRST, FIRST) == 1.0


def test_equal_differences_are_certain() -> None:
    assert paired_t_test([0.5, 0.75], [0.25, 0.5]) == 0.0


def test_holm_by_hand() -> None:
    # Sorted 0.01, 0.02, 0.03, 0.5 times 4, 3, 2, 1: 0.04, 0.06, 0.06, 0.5; never falling.
    np.testing.assert_allclose(holm([0.03, 0.01, 0.5, 0.02]), [0.06, 0.04, 0.5, 0.06])


def test_holm_does_not_count_missing_tests_and_stays_below_one() -> None:
    np.testing.assert_allclose(holm([np.nan, 0.6, 0.7]), [np.nan, 1.0, 1.0])


def test_not_worse_is_a_one_sided_test_at_the_margin() -> None:
    found = judge_equivalence(SECOND, FIRST, margin=0.05)
    shifted = np.array(SECOND) - np.array(FIRST)
    expected = stats.ttest_1samp(shifted, -0.05, alternative="greater").pvalue
    assert found.p_not_worse == pytest.approx(expected)
    assert found.difference == pytest.approx(-0.024)


def test_equality_needs_both_sides() -> None:
    # Far better than the other within no margin: not worse for sure, but not equal.
    found = judge_equivalence([0.9, 0.91, 0.92], [0.5, 0.52, 0.51], margin=0.01)
    assert found.p_not_worse < 0.001
    assert found.p_equal > 0.99


def test_a_difference_that_is_not_significant_is_no_equivalence() -> None:
    first, second = [0.80, 0.60, 0.70], [0.70, 0.75, 0.66]
    assert paired_t_test(first, second) > 0.5
    assert judge_equivalence(first, second, margin=0.01).p_equal > 0.3


@pytest.mark.parametrize(("first", "second"), [([0.5], [0.5]), ([0.5, 0.6], [0.5])])
def test_unpaired_values_are_refused(first: list[float], second: list[float]) -> None:
    with pytest.raises(ValueError, match="equal shapes"):
        paired_t_test(first, second)


def test_the_bootstrap_interval_is_about_that_of_the_normal_distribution() -> None:
    rng = np.random.default_rng(1)
    first = rng.normal(1.0, 1.0, (1, 400))
    second = np.zeros((1, 400))
    found = bootstrap_difference(first, second, mean_of, np.random.default_rng(2))
    error = first.std(ddof=1) / 20
    assert found.value == pytest.approx(first.mean())
    assert found.lower == pytest.approx(first.mean() - 1.96 * error, abs=0.02)
    assert found.upper == pytest.approx(first.mean() + 1.96 * error, abs=0.02)


def test_pairs_are_drawn_together() -> None:
    # Patients differ by 100, arms by 1: unpaired draws would hide the difference.
    second = np.arange(0.0, 2000.0, 100.0)[None].repeat(3, axis=0)
    found = bootstrap_difference(second + 1.0, second, mean_of, np.random.default_rng(0))
    assert (found.value, found.lower, found.upper) == pytest.approx((1.0, 1.0, 1.0))
    assert found.p_value < 0.002


def test_the_same_arm_twice_is_no_difference() -> None:
    arm = np.random.default_rng(0).random((4, 9))
    found = bootstrap_difference(arm, arm, mean_of, np.random.default_rng(0), draws=50)
    assert (found.value, found.lower, found.upper, found.p_value) == (0.0, 0.0, 0.0, 1.0)


def test_arms_of_other_patients_are_refused() -> None:
    with pytest.raises(ValueError, match="equal shapes"):
        bootstrap_difference(np.zeros((2, 3)), np.zeros((2, 4)), mean_of, np.random.default_rng(0))


def test_a_win_is_counted_per_round_and_for_one_side() -> None:
    seeds = np.array([0.0, 0.01, 0.02, 0.03])[:, None]
    noise = np.array([[0.001], [-0.001], [0.002], [0.0]])
    low = np.array([0.5, 0.5]) + seeds
    high = np.array([0.9, 0.5]) + seeds + noise * [1.0, 10.0]
    wins = penalty_matrix({"low": low, "high": high})
    # The second round differs by noise alone.
    np.testing.assert_allclose(wins, [[0.0, 0.0], [0.5, 0.0]])


def test_correction_takes_back_a_weak_win() -> None:
    rng = np.random.default_rng(3)
    curves = {str(arm): rng.normal(0.5, 0.1, (5, 4)) for arm in range(8)}
    assert penalty_matrix(curves, correct=False).sum() > penalty_matrix(curves).sum()
