import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import chisquare

from strategies.selection import select_top, utilities_from_order

# Few different values, so that ties are the rule.
utilities_of_a_pool = arrays(
    np.float64, st.integers(0, 12), elements=st.sampled_from([0.0, 0.25, 0.5, 1.0])
)
counts = st.integers(0, 15)
seeds = st.integers(0, 2**32 - 1)


@given(utilities_of_a_pool, counts, seeds)
def test_nothing_left_behind_beats_anything_selected(
    utilities: np.ndarray, count: int, seed: int
) -> None:
    chosen = select_top(utilities, count, np.random.default_rng(seed))
    left = np.setdiff1d(np.arange(utilities.size), chosen)
    assert chosen.size == np.unique(chosen).size == min(count, utilities.size)
    if chosen.size and left.size:
        assert utilities[left].max() <= utilities[chosen].min()


def test_the_best_comes_first() -> None:
    chosen = select_top(np.array([0.2, 0.9, 0.5]), 2, np.random.default_rng(0))
    assert chosen.tolist() == [1, 2]


def test_equal_utilities_are_chosen_equally_often() -> None:
    first_places = [
        int(select_top(np.zeros(8), 1, np.random.default_rng(seed))[0]) for seed in range(1600)
    ]
    # 200 each are expected; a fair draw is below p = 0.001 once in a thousand choices of seeds.
    assert chisquare(np.bincount(first_places, minlength=8)).pvalue > 0.001


@given(utilities_of_a_pool, counts, seeds, st.data())
def test_each_patient_is_chosen_once_and_by_the_best_image(
    utilities: np.ndarray, count: int, seed: int, data: st.DataObject
) -> None:
    patient = data.draw(arrays(np.int64, utilities.size, elements=st.integers(0, 4)))
    chosen = select_top(utilities, count, np.random.default_rng(seed), patient=patient)
    assert chosen.size == np.unique(patient[chosen]).size == min(count, np.unique(patient).size)
    for index in chosen:
        assert utilities[index] == utilities[patient == patient[index]].max()
    left = ~np.isin(patient, patient[chosen])
    if chosen.size and left.any():
        assert utilities[left].max() <= utilities[chosen].min()


def test_a_scan_that_is_in_the_pool_twice_is_chosen_once() -> None:
    utilities, patient = np.array([0.9, 0.9, 0.1]), np.array([7, 7, 8])
    chosen = select_top(utilities, 2, np.random.default_rng(0), patient=patient)
    assert chosen[0] in (0, 1)
    assert chosen[1:].tolist() == [2]


def test_an_order_becomes_falling_utilities() -> None:
    # Image 2 is first, 0 second, 1 third.
    np.testing.assert_allclose(utilities_from_order(np.array([2, 0, 1])), [2 / 3, 1 / 3, 1.0])


@given(st.permutations(range(9)), seeds)
def test_selecting_from_an_order_gives_the_order_back(order: list[int], seed: int) -> None:
    utilities = utilities_from_order(np.array(order))
    assert select_top(utilities, 9, np.random.default_rng(seed)).tolist() == order


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_utilities_must_be_finite(value: float) -> None:
    with pytest.raises(ValueError, match="expected finite utilities"):
        select_top(np.array([0.5, value]), 1, np.random.default_rng(0))


def test_a_table_of_utilities_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected utilities of shape \(N,\), got \(2, 1\)"):
        select_top(np.zeros((2, 1)), 1, np.random.default_rng(0))


def test_a_negative_count_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a count >= 0, got -1"):
        select_top(np.zeros(2), -1, np.random.default_rng(0))


def test_patients_of_another_pool_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected patient of shape \(2,\), got \(3,\)"):
        select_top(np.zeros(2), 1, np.random.default_rng(0), patient=np.arange(3))
