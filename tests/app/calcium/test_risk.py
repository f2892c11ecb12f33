import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.calcium.risk import (
    RISK_CATEGORIES,
    cac_drs,
    calcified_vessels,
    category_probabilities,
    risk_category,
    risk_index,
)


@pytest.mark.parametrize(
    ("agatston", "category"),
    [
        (0.0, "0"),
        (1e-9, "1-10"),
        (0.5, "1-10"),
        (10.0, "1-10"),
        (10.4, "11-100"),
        (100.0, "11-100"),
        (100.4, "101-400"),
        (400.0, "101-400"),
        (400.1, ">400"),
        (5000.0, ">400"),
    ],
)
def test_the_category_follows_the_unrounded_score(agatston: float, category: str) -> None:
    assert risk_category(agatston) == category


@pytest.mark.parametrize(
    ("agatston", "vessels", "category"),
    [
        (0.0, 0, "A0/N0"),
        (0.5, 1, "A1/N1"),
        (99.9, 2, "A1/N2"),
        (100.0, 3, "A2/N3"),
        (299.9, 3, "A2/N3"),
        (300.0, 4, "A3/N4"),
    ],
)
def test_cac_drs_joins_score_and_vessels(agatston: float, vessels: int, category: str) -> None:
    assert cac_drs(agatston, vessels) == category


@pytest.mark.parametrize("agatston", [-0.1, math.nan, math.inf])
def test_an_impossible_score_is_refused(agatston: float) -> None:
    with pytest.raises(ValueError, match="at least 0"):
        risk_category(agatston)
    with pytest.raises(ValueError, match="at least 0"):
        cac_drs(agatston, 1)


@pytest.mark.parametrize("vessels", [-1, 5])
def test_an_impossible_number_of_vessels_is_refused(vessels: int) -> None:
    with pytest.raises(ValueError, match="0 to 4 vessels"):
        cac_drs(1.0, vessels)


def test_a_vessel_is_calcified_above_zero() -> None:
    assert calcified_vessels([0.0, 0.2, 0.0, 900.0]) == 2


def test_probabilities_are_shares_of_samples() -> None:
    # Of five samples one is 0, two lie in 1-10, none in 11-100, one in 101-400, one above.
    shares = category_probabilities([0.0, 3.0, 10.0, 400.0, 401.0])
    assert shares == {"0": 0.2, "1-10": 0.4, "11-100": 0.0, "101-400": 0.2, ">400": 0.2}


@pytest.mark.parametrize("samples", [[], [[1.0, 2.0]]])
def test_probabilities_need_one_list_of_samples(samples: list[float]) -> None:
    with pytest.raises(ValueError, match="at least one sample"):
        category_probabilities(samples)


@given(st.lists(st.floats(0, 1e5), min_size=1, max_size=30))
def test_probabilities_sum_to_one(samples: list[float]) -> None:
    assert sum(category_probabilities(samples).values()) == pytest.approx(1.0)


@given(st.floats(0, 1e5), st.floats(0, 1e5))
def test_a_higher_score_is_never_a_lower_category(first: float, second: float) -> None:
    low, high = sorted((first, second))
    assert risk_index(low) <= risk_index(high)


def test_many_scores_are_placed_at_once() -> None:
    indices = risk_index(np.array([[0.0, 5.0], [50.0, 500.0]]))
    np.testing.assert_array_equal(indices, [[0, 1], [2, 4]])
    assert RISK_CATEGORIES[4] == ">400"
