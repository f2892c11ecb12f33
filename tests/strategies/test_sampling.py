from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from strategies.strata import candidate_strata
from tests.strategies.factories import count_first_places, draw, pool


def test_first_keeps_the_order_of_the_pool() -> None:
    candidates = pool([0.1, 0.9, 0.5, 0.7])
    assert draw("first", candidates, 4, np.random.default_rng(0)) == [0, 1, 2, 3]


def test_first_puts_what_was_served_behind_and_the_longest_ago_before_the_others() -> None:
    served = np.array([30.0, -np.inf, 20.0, -np.inf])
    candidates = replace(pool([0.1, 0.9, 0.5, 0.7]), last_served=served)
    assert draw("first", candidates, 4, np.random.default_rng(0)) == [1, 3, 2, 0]


def test_random_gives_every_image_the_same_chance() -> None:
    candidates = pool([0.0, 0.2, 0.9, 0.9], scored=[True, True, True, False])
    counts = count_first_places("random", candidates, draws=1000, seed=5)
    assert chisquare(counts).pvalue > 0.001


def test_stratified_gives_every_stratum_the_same_chance() -> None:
    # Six images of score 0, one each of strata 1-10 and > 400, two unscored.
    candidates = pool(
        [0.1] * 10,
        agatston=[0.0] * 6 + [5.0, 900.0, np.nan, np.nan],
        scored=[True] * 8 + [False] * 2,
    )
    counts = count_first_places("stratified", candidates, draws=2000, seed=5)
    # Two of ten draws are of the unscored, who may be of any stratum; the others are shared
    # evenly by the three strata of six, one and one images.
    expected = [1600 / 3 / 6] * 6 + [1600 / 3] * 2 + [200] * 2
    assert chisquare(counts, expected).pvalue > 0.001


@given(st.lists(st.sampled_from([0.0, 5.0, 50.0, 200.0, 900.0]), max_size=20), st.integers(0, 99))
def test_a_batch_holds_no_second_image_of_a_stratum_before_the_first_of_another(
    agatston: list[float], seed: int
) -> None:
    candidates = pool([0.1] * len(agatston), agatston=agatston)
    order = draw("stratified", candidates, len(agatston), np.random.default_rng(seed))
    assert sorted(order) == list(range(len(agatston)))
    strata = candidate_strata(candidates)
    round_size = np.unique(strata).size
    assert np.unique(strata[order[:round_size]]).size == round_size


@pytest.mark.parametrize("scored", [[True] * 3, [False] * 3])
def test_random_and_stratified_serve_also_where_nothing_is_worth_labeling(
    scored: list[bool],
) -> None:
    candidates = pool([0.0] * 3, agatston=[0.0] * 3, scored=scored, has_candidates=[False] * 3)
    for name in ("random", "stratified"):
        assert sorted(draw(name, candidates, 3, np.random.default_rng(0))) == [0, 1, 2]
