from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import chisquare

from strategies.base import Candidates
from strategies.power import beta_of, pick_noisy
from strategies.registry import get_strategy
from tests.strategies.factories import count_first_places, draw, pool


def times_picked(utilities: list[float], beta: float, draws: int = 2000) -> np.ndarray:
    rng = np.random.default_rng(6)
    picked = [pick_noisy(np.array(utilities, float), beta, rng) for _ in range(draws)]
    return np.bincount([pick[0] for pick in picked if pick], minlength=len(utilities))


def test_chances_grow_with_the_power_of_the_utility() -> None:
    # 1, 4 and 9 of 14 for a power of two.
    assert chisquare(times_picked([1, 2, 3], 2.0), np.array([1, 4, 9]) * 2000 / 14).pvalue > 0.001


def test_they_are_those_of_gumbel_noise_on_the_logarithm() -> None:
    utilities, beta, rng = np.array([0.2, 0.5, 0.9]), 1.5, np.random.default_rng(5)
    noisy = np.log(utilities) + rng.gumbel(0, 1 / beta, size=(20_000, 3))
    shares = np.bincount(noisy.argmax(axis=1), minlength=3) / 20_000
    assert chisquare(times_picked([0.2, 0.5, 0.9], beta), shares * 2000).pvalue > 0.001


@given(
    arrays(np.float64, st.integers(1, 8), elements=st.floats(0, 1e300)),
    st.floats(0.01, 1000),
    st.integers(0, 2**32 - 1),
)
def test_only_positive_utilities_are_picked(values: np.ndarray, beta: float, seed: int) -> None:
    found = pick_noisy(values, beta, np.random.default_rng(seed))
    assert (found is None) == (values.max() == 0)
    if found is not None:
        assert values[found[0]] == found[1] > 0


@pytest.mark.parametrize(("step", "beta"), [(0, 1.0), (5, 10.0), (10, 100.0), (99, 100.0)])
def test_noise_falls_by_the_same_factor_from_training_to_training(step: int, beta: float) -> None:
    options = get_strategy("power").read_options()
    assert beta_of(replace(pool([]), step=step), options) == pytest.approx(beta)


def test_power_explores_first_and_exploits_last() -> None:
    candidates = pool([0.1, 0.2, 0.3, 0.4])
    first = count_first_places("power", candidates, draws=1000, seed=4, random_share=0.0)
    # Mean ranks 1 to 4 of 4 are the utilities: 4 of 10 draws go to the highest.
    assert chisquare(first, np.array([1, 2, 3, 4]) * 100).pvalue > 0.001
    last = replace(candidates, step=10)
    assert count_first_places("power", last, draws=50, seed=4, random_share=0.0)[3] == 50


def by_artery() -> Candidates:
    """One image for each artery, and twenty that are ambiguous all over but in no artery most."""
    table = np.concatenate([np.eye(4), np.full((20, 4), 0.001)])
    entropy = np.array([0.001] * 4 + [1.0] * 20)
    return replace(pool([0.5] * 24), artery_entropy=table, entropy=entropy, step=10)


def test_clasp_gives_every_artery_its_places() -> None:
    for seed in range(20):
        batch = draw("clasp", by_artery(), 15, np.random.default_rng(seed), random_share=0.0)
        # 66 % of 15 places are 9.9, so two or three for each artery: its image is among them.
        assert {0, 1, 2, 3} <= set(batch)


def test_without_a_share_for_the_arteries_clasp_ranks_by_entropy() -> None:
    rng = np.random.default_rng(0)
    batch = draw("clasp", by_artery(), 15, rng, random_share=0.0, class_share=0.0)
    assert not {0, 1, 2, 3} & set(batch)


def test_places_of_an_artery_that_no_image_is_unsure_of_go_by_entropy() -> None:
    candidates = replace(by_artery(), artery_entropy=np.zeros((24, 4)))
    batch = draw("clasp", candidates, 15, np.random.default_rng(0), random_share=0.0)
    assert len(batch) == 15
    assert not {0, 1, 2, 3} & set(batch)


@pytest.mark.parametrize("name", ["power", "clasp"])
def test_an_empty_image_is_left_to_the_random_share(name: str) -> None:
    candidates = pool([0.0, 0.1, 0.2], has_candidates=[False, True, True])
    counts = count_first_places(name, candidates, draws=300, seed=1, random_share=0.0)
    assert counts[0] == 0
