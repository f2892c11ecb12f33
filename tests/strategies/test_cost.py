from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies.cost import ENOUGH_CASES, PUBLISHED, SHORTEST_S, CostModel, fit_cost
from tests.strategies.factories import draw, pool


def cases(count: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    return rng.integers(0, 9, count), rng.integers(0, 30, count)


def test_a_cost_model_is_found_again() -> None:
    lesions, slices = cases(50)
    fitted = fit_cost(30.0 + 4.0 * lesions + 0.5 * slices, lesions, slices)
    assert fitted.base_s == pytest.approx(30.0)
    assert fitted.lesion_s == pytest.approx(4.0)
    assert fitted.slice_s == pytest.approx(0.5)
    assert fitted.cases == 50


def test_a_few_odd_times_change_little() -> None:
    lesions, slices = cases(60)
    seconds = 30.0 + 4.0 * lesions + np.random.default_rng(1).normal(0, 2, 60)
    seconds[:6] = 900.0
    fitted = fit_cost(seconds, lesions, slices)
    assert fitted.base_s == pytest.approx(30.0, abs=3)
    assert fitted.lesion_s == pytest.approx(4.0, abs=0.5)


def test_more_calcium_never_takes_less_time() -> None:
    lesions, slices = cases(50)
    fitted = fit_cost(100.0 - 5.0 * lesions, lesions, slices)
    assert fitted.lesion_s == 0.0
    assert fitted.slice_s >= 0.0


@pytest.mark.parametrize("odd", [0.0, -5.0, np.nan, np.inf])
def test_times_that_cannot_be_do_not_count(odd: float) -> None:
    lesions, slices = cases(ENOUGH_CASES)
    seconds = np.full(ENOUGH_CASES, 40.0)
    assert fit_cost(seconds, lesions, slices).cases == ENOUGH_CASES
    seconds[3] = odd
    assert fit_cost(seconds, lesions, slices) == PUBLISHED


def test_the_published_times_are_those_of_the_source() -> None:
    # Checking alone 36 s, semi-automatic scoring of four lesions 59 s.
    assert PUBLISHED.seconds(np.array([0, 4]), np.array([0, 9])).tolist() == [36.0, 59.0]


@given(st.lists(st.floats(0.1, 1e6), min_size=ENOUGH_CASES, max_size=40), st.integers(0, 99))
def test_whatever_was_measured_takes_time(seconds: list[float], seed: int) -> None:
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 9, (2, len(seconds)))
    fitted = fit_cost(np.array(seconds), *counts)
    assert (fitted.seconds(*counts) >= SHORTEST_S).all()
    assert np.isfinite(fitted.seconds(*counts)).all()


def test_half_the_time_counts_as_much_as_twice_the_uncertainty() -> None:
    candidates = pool([0.1, 0.2, 0.3, 0.4])
    # Mean ranks 1/4 to 4/4 per second: 1/40, 1/20, 1/400, 1/60.
    slow = replace(candidates, expected_seconds=np.array([10.0, 10.0, 300.0, 60.0]))
    rng = np.random.default_rng(0)
    assert draw("cost_aware", slow, 4, rng, random_share=0.0) == [1, 0, 3, 2]
    unweighted = draw("cost_aware", slow, 4, rng, random_share=0.0, cost_weight=0.0)
    assert unweighted == [3, 2, 1, 0]


def test_a_fit_without_a_base_never_expects_less_than_a_second() -> None:
    assert CostModel(0.0, 2.0, 0.0).seconds(np.array([0, 3]), np.zeros(2)).tolist() == [1.0, 6.0]


def test_an_image_unlike_all_that_were_timed_is_not_expected_to_take_no_time() -> None:
    lesions = np.arange(4, 24)
    seconds = np.array([10.0 * count - 20.0 for count in lesions])
    fitted = fit_cost(seconds, lesions, np.zeros(20))
    # The line has no base, so an image without a lesion would cost next to nothing.
    assert fitted.base_s == 0.0
    assert fitted.seconds(np.array([0]), np.array([0]))[0] >= 20.0
