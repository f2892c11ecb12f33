import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from strategies.registry import get_strategy
from strategies.sampling import stratified_order
from strategies.strata import candidate_strata
from tests.strategies.factories import count_first_places, pool


def test_first_keeps_the_order_of_the_pool() -> None:
    utilities = get_strategy("first")(pool([0.1, 0.9, 0.5, 0.7]), np.random.default_rng(0))
    assert utilities.tolist() == [1.0, 0.75, 0.5, 0.25]


def test_random_gives_every_image_the_same_chance() -> None:
    candidates = pool([0.0, 0.2, 0.9, 0.9], scored=[True, True, True, False])
    counts = count_first_places(get_strategy("random"), candidates, draws=1000, seed=5)
    assert chisquare(counts).pvalue > 0.001


def test_stratified_gives_every_stratum_the_same_chance() -> None:
    # Six images of score 0, one each of strata 1-10 and > 400, two unscored.
    candidates = pool(
        [0.1] * 10,
        agatston=[0.0] * 6 + [5.0, 900.0, np.nan, np.nan],
        scored=[True] * 8 + [False] * 2,
    )
    counts = count_first_places(get_strategy("stratified"), candidates, draws=2000, seed=5)
    # A quarter for each stratum, shared by its six, one, one and two images.
    expected = [2000 / 4 / 6] * 6 + [2000 / 4] * 2 + [2000 / 4 / 2] * 2
    assert chisquare(counts, expected).pvalue > 0.001


@given(st.lists(st.sampled_from([0.0, 5.0, 50.0, 200.0, 900.0]), max_size=20), st.integers(0, 99))
def test_a_batch_holds_no_second_image_of_a_stratum_before_the_first_of_another(
    agatston: list[float], seed: int
) -> None:
    candidates = pool([0.1] * len(agatston), agatston=agatston)
    order = stratified_order(candidates, np.random.default_rng(seed))
    assert sorted(order.tolist()) == list(range(len(agatston)))
    strata = candidate_strata(candidates)
    round_size = np.unique(strata).size
    assert np.unique(strata[order[:round_size]]).size == round_size
