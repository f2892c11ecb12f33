"""Figures of learning curves, by values worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import curve_fit, isotonic_regression

from app.simulation.curves import (
    Reached,
    area_under_budget_curve,
    budget_to_reach,
    foreground_efficiency,
    monotone,
)

values = st.lists(st.floats(0, 1), min_size=1, max_size=12)


def test_a_flat_curve_has_the_area_of_its_height() -> None:
    assert area_under_budget_curve([4, 8, 26], [0.7, 0.7, 0.7]) == pytest.approx(0.7)


def test_area_weighs_segments_by_their_budget() -> None:
    # Two labels at a mean of 0.3, eight at a mean of 0.5: (0.6 + 4.0) / 10.
    assert area_under_budget_curve([2, 4, 12], [0.2, 0.4, 0.6]) == pytest.approx(0.46)


@pytest.mark.parametrize("budget", [[4, 4], [8, 4], [1, 2, 3]])
def test_a_budget_that_does_not_ascend_or_fit_is_refused(budget: list[int]) -> None:
    with pytest.raises(ValueError, match="expected"):
        area_under_budget_curve(budget, [0.1, 0.2])


def test_a_round_that_costs_nothing_adds_no_area_and_no_budget() -> None:
    # As one in which no image with a lesion was chosen, on the axis of the lesions.
    budget, curve = [2, 6, 6, 10], [0.2, 0.4, 0.6, 0.8]
    assert area_under_budget_curve(budget, curve) == pytest.approx(0.5)
    assert budget_to_reach(budget, curve, goal=0.5).at == pytest.approx(6.0)
    assert budget_to_reach(budget, curve, goal=0.7).at == pytest.approx(8.0)


def test_efficiency_is_found_again() -> None:
    share = np.array([0.05, 0.1, 0.2, 0.4])
    curve = 0.9 - 0.5 * np.exp(-7.0 * (share - 0.05))
    assert foreground_efficiency(share, curve, full=0.9) == pytest.approx(7.0, rel=1e-4)


def test_efficiency_of_a_noisy_curve_is_that_of_a_general_fit() -> None:
    share = np.array([0.05, 0.1, 0.2, 0.4, 0.6])
    curve = np.array([0.4, 0.6, 0.55, 0.8, 0.78])

    def model(x: np.ndarray, b: float) -> np.ndarray:
        return np.asarray(0.9 - 0.5 * np.exp(-b * (x - 0.05)))

    fitted, _ = curve_fit(model, share, curve, p0=[3.0])
    assert foreground_efficiency(share, curve, full=0.9) == pytest.approx(fitted[0], rel=1e-4)


def test_a_curve_that_never_rises_has_no_efficiency() -> None:
    assert foreground_efficiency([0.1, 0.2, 0.3], [0.5, 0.4, 0.3], full=0.8) == 0.0


def test_nothing_to_gain_is_no_number() -> None:
    assert np.isnan(foreground_efficiency([0.1, 0.2], [0.8, 0.7], full=0.8))


def test_a_goal_between_two_points_is_interpolated() -> None:
    # 0.7 is halfway from 0.6 to 0.8, so halfway from 8 to 12.
    found = budget_to_reach([4, 8, 12], [0.5, 0.6, 0.8], goal=0.7)
    assert found.at == pytest.approx(10.0)
    assert not found.is_censored


def test_a_lucky_point_does_not_reach_a_goal_that_the_curve_loses_again() -> None:
    # 0.9 and 0.5 are pooled to 0.7, so that 0.8 is reached between 12 and 16 only:
    # 12 + 4 * (0.8 - 0.7) / (0.9 - 0.7).
    found = budget_to_reach([4, 8, 12, 16], [0.2, 0.9, 0.5, 0.9], goal=0.8)
    assert found.at == pytest.approx(14.0)
    assert not found.is_censored


def test_a_goal_beyond_the_curve_is_censored_at_its_end() -> None:
    found = budget_to_reach([4, 8], [0.2, 0.6], goal=0.61)
    assert found == Reached(8.0, True)
    assert str(found) == "> 8"


def test_a_goal_below_the_start_is_reached_there() -> None:
    assert budget_to_reach([4, 8], [0.5, 0.6], goal=0.4) == Reached(4.0, False)


@given(values)
def test_monotone_is_isotonic_regression(curve: list[float]) -> None:
    np.testing.assert_allclose(monotone(curve), isotonic_regression(curve).x, atol=1e-12)
