import numpy as np
import pytest
from scipy.stats import chisquare

from strategies.ranking import pick_highest


def test_the_highest_utility_is_picked_with_its_value() -> None:
    assert pick_highest(np.array([0.2, 0.9, 0.5]), np.random.default_rng(0)) == (1, 0.9)


def test_equal_utilities_are_picked_equally_often() -> None:
    utilities = np.array([1.0, 0.0, 1.0, 1.0])
    picked = [pick_highest(utilities, np.random.default_rng(seed)) for seed in range(1200)]
    counts = np.bincount([pick[0] for pick in picked if pick], minlength=4)
    assert counts[1] == 0
    assert chisquare(counts[[0, 2, 3]]).pvalue > 0.001


@pytest.mark.parametrize("utilities", [np.array([]), np.full(3, -np.inf)])
def test_nothing_is_picked_where_nothing_is_ranked(utilities: np.ndarray) -> None:
    assert pick_highest(utilities, np.random.default_rng(0)) is None
