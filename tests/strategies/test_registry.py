import copy
from dataclasses import asdict

import numpy as np
import pytest
from scipy.stats import chi2_contingency

from strategies.base import Candidates
from strategies.registry import (
    DEFAULT_STRATEGY,
    get_strategy,
    strategy_description,
    strategy_names,
)
from tests.strategies.factories import count_first_places, mixed_pool, pool, reorder


@pytest.fixture
def candidates() -> Candidates:
    return mixed_pool()


@pytest.mark.parametrize("name", strategy_names())
class TestEveryStrategy:
    def test_same_seed_same_utilities(self, name: str, candidates: Candidates) -> None:
        first, second = (
            get_strategy(name)(candidates, np.random.default_rng(11)) for _ in range(2)
        )
        np.testing.assert_array_equal(first, second)

    def test_one_finite_utility_per_candidate(self, name: str, candidates: Candidates) -> None:
        utilities = get_strategy(name)(candidates, np.random.default_rng(11))
        assert utilities.shape == (6,)
        assert utilities.dtype == np.float64
        assert np.isfinite(utilities).all()

    def test_input_is_left_unchanged(self, name: str, candidates: Candidates) -> None:
        before = copy.deepcopy(asdict(candidates))
        get_strategy(name)(candidates, np.random.default_rng(11))
        for field, values in asdict(candidates).items():
            np.testing.assert_array_equal(values, before[field])

    def test_an_empty_pool_gives_no_utility(self, name: str) -> None:
        utilities = get_strategy(name)(pool([]), np.random.default_rng(11))
        assert utilities.shape == (0,)
        assert utilities.dtype == np.float64

    def test_a_single_image_is_ranked(self, name: str) -> None:
        for scored in (True, False):
            utilities = get_strategy(name)(pool([0.0], scored=[scored]), np.random.default_rng(1))
            assert np.isfinite(utilities).all()

    def test_it_is_described_in_a_phrase(self, name: str) -> None:
        description = strategy_description(name)
        assert description
        assert not description.endswith(".")


@pytest.mark.parametrize("name", [name for name in strategy_names() if name != "first"])
class TestEveryStrategyButTheOneThatKeepsTheOrder:
    def test_the_order_of_the_pool_does_not_decide(self, name: str, candidates: Candidates) -> None:
        order = np.array([4, 2, 5, 0, 3, 1])
        kept = count_first_places(get_strategy(name), candidates, draws=800, seed=1)
        moved = count_first_places(
            get_strategy(name), reorder(candidates, order), draws=800, seed=2
        )
        # Image order[i] stands at place i; both rows draw from one distribution.
        assert chi2_contingency([kept[order], moved]).pvalue > 0.001

    def test_every_image_can_be_served_first(self, name: str, candidates: Candidates) -> None:
        counts = count_first_places(get_strategy(name), candidates, draws=300, seed=3)
        assert (counts > 0).all()


def test_the_default_is_known() -> None:
    assert strategy_names()[0] == DEFAULT_STRATEGY


def test_the_promised_strategies_are_there() -> None:
    assert {"random", "first", "stratified", "uncertainty"} <= set(strategy_names())


def test_an_unknown_strategy_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"uncertainty, stratified, random, first, got 'best'"):
        get_strategy("best")
