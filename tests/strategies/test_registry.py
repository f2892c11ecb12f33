import copy
from dataclasses import asdict

import numpy as np
import pytest
from scipy.stats import chi2_contingency

from strategies.base import Candidates
from strategies.registry import DEFAULT_STRATEGY, get_strategy, strategy_names
from tests.strategies.factories import count_first_places, draw, mixed_pool, pool


@pytest.fixture
def candidates() -> Candidates:
    return mixed_pool()


@pytest.mark.parametrize("name", strategy_names())
class TestEveryStrategy:
    def test_same_seed_same_batch(self, name: str, candidates: Candidates) -> None:
        first, second = (draw(name, candidates, 5, np.random.default_rng(11)) for _ in range(2))
        assert first == second

    def test_a_batch_has_one_image_of_each_patient(self, name: str, candidates: Candidates) -> None:
        for seed in range(20):
            batch = draw(name, candidates, 6, np.random.default_rng(seed))
            # Images 1 and 2 are scans of patient 2.
            assert sorted(candidates.patient[batch].tolist()) == [1, 2, 3, 4, 5]

    def test_input_is_left_unchanged(self, name: str, candidates: Candidates) -> None:
        before = copy.deepcopy(asdict(candidates))
        draw(name, candidates, 3, np.random.default_rng(11))
        for field, values in asdict(candidates).items():
            np.testing.assert_array_equal(values, before[field])

    def test_an_empty_pool_gives_no_image(self, name: str) -> None:
        assert draw(name, pool([]), 3, np.random.default_rng(11)) == []

    def test_a_single_image_is_chosen(self, name: str) -> None:
        for scored in (True, False):
            candidates = mixed_pool().take(np.array([0 if scored else 4]))
            assert draw(name, candidates, 3, np.random.default_rng(1)) == [0]

    def test_a_pool_without_any_score_serves_every_image(self, name: str) -> None:
        nan = [float("nan")] * 4
        candidates = pool(nan, agatston=nan, scored=[False] * 4)
        assert sorted(draw(name, candidates, 4, np.random.default_rng(1))) == [0, 1, 2, 3]

    def test_it_is_described_in_a_phrase(self, name: str) -> None:
        description = get_strategy(name).description
        assert description
        assert not description.endswith(".")

    def test_its_options_are_within_their_bounds(self, name: str) -> None:
        for option in get_strategy(name).options.values():
            assert option.lowest <= option.default <= option.highest


@pytest.mark.parametrize("name", [name for name in strategy_names() if name != "first"])
class TestEveryStrategyButTheOneThatKeepsTheOrder:
    def test_the_order_of_the_pool_does_not_decide(self, name: str, candidates: Candidates) -> None:
        order = np.array([4, 2, 5, 0, 3, 1])
        kept = count_first_places(name, candidates, draws=600, seed=1)
        moved = count_first_places(name, candidates.take(order), draws=600, seed=2)
        # Image order[i] stands at place i; both rows draw from one distribution.
        assert chi2_contingency([kept[order], moved]).pvalue > 0.001

    def test_every_image_can_be_served_first(self, name: str, candidates: Candidates) -> None:
        counts = count_first_places(name, candidates, draws=300, seed=3)
        assert (counts > 0).all()


def test_the_default_is_known() -> None:
    assert strategy_names()[0] == DEFAULT_STRATEGY


def test_the_promised_strategies_are_there() -> None:
    assert {"random", "first", "stratified", "uncertainty"} <= set(strategy_names())


def test_an_unknown_strategy_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"uncertainty, .*random, first, got 'best'"):
        get_strategy("best")


def test_an_unknown_option_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="expected an option out of random_share, got 'beta'"):
        draw("uncertainty", mixed_pool(), 1, np.random.default_rng(0), beta=1.0)


@pytest.mark.parametrize("value", [-0.01, 1.01, float("nan")])
def test_an_option_out_of_its_bounds_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="expected random_share from 0 to 1"):
        draw("uncertainty", mixed_pool(), 1, np.random.default_rng(0), random_share=value)
