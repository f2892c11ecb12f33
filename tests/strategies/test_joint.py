from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies.base import Candidates
from strategies.joint import SHORTLIST, Joint, chance_share, rank_joint, widest_spread
from tests.strategies.factories import draw, pool


def sampled(log_agatston: list[list[float]]) -> Candidates:
    samples = np.array(log_agatston, np.float32)
    return replace(pool(samples.std(axis=1, ddof=1).tolist()), log_agatston=samples)


def drops_by_schur(covariance: np.ndarray, chosen: list[int], noise: float) -> dict[int, float]:
    """Condition on each label in turn, with the whole covariance matrix, the slow way."""
    known = covariance.copy()
    for place in chosen:
        known = known - np.outer(known[place], known[place]) / (known[place, place] + noise)
    left = [place for place in range(len(known)) if place not in chosen]
    return {i: float((known[i, left] ** 2).sum() / (known[i, i] + noise)) for i in left}


@given(st.integers(0, 2**32 - 1), st.integers(2, 9), st.integers(2, 6), st.integers(0, 3))
def test_drops_are_those_of_conditioning_the_whole_covariance(
    seed: int, images: int, samples: int, labeled: int
) -> None:
    rng = np.random.default_rng(seed)
    factors, own = rng.normal(size=(images, samples)), rng.uniform(0.1, 1, images)
    prior = np.eye(samples) / samples
    chosen = rng.permutation(images)[: min(labeled, images - 1)].tolist()
    drops = Joint(factors, own, prior, noise=0.3).drops(chosen)
    covariance = factors @ prior @ factors.T + np.diag(own)
    for image, drop in drops_by_schur(covariance, chosen, 0.3).items():
        assert drops[image] == pytest.approx(drop)


def test_two_images_that_hang_on_one_doubt_settle_each_other() -> None:
    # Deviations 1 -1 1 -1 twice and 1 1 -1 -1 once: variance 4/3 each, covariance 4/3 or 0.
    factors = np.array([[1.0, -1, 1, -1], [1, -1, 1, -1], [1, 1, -1, -1]])
    ranking = Joint(factors, own=np.zeros(3), prior=np.eye(4) / 3, noise=1 / 3)
    # One of the first two lowers both: 2 (4/3)^2 / (5/3) = 32/15; the third only itself: 16/15.
    np.testing.assert_allclose(ranking.drops([]), [32 / 15, 32 / 15, 16 / 15])
    # With the first known, the variance of the second is 4/3 - (4/3)^2 / (5/3) = 4/15, and its
    # drop (4/15)^2 / (4/15 + 1/3) = 16/135; the third is untouched.
    np.testing.assert_allclose(ranking.drops([0])[1:], [16 / 135, 16 / 15])


def test_a_batch_takes_another_doubt_before_the_same_one_again() -> None:
    waves = np.array([[1.0, -1, 1, -1, 1, -1, 1, -1], [1, 1, 1, 1, -1, -1, -1, -1]])
    # Ten images of one doubt, ten a little less spread of another.
    samples = [5 + waves[0]] * 10 + [5 + 0.9 * waves[1]] * 10
    candidates = sampled([row.tolist() for row in samples])
    batch = draw("batch", candidates, 2, np.random.default_rng(0), random_share=0.0)
    assert batch[0] < 10 <= batch[1]
    by_spread = draw("uncertainty", candidates, 2, np.random.default_rng(0), random_share=0.0)
    assert max(by_spread) < 10


def test_correlations_of_independent_images_are_taken_for_chance() -> None:
    rng = np.random.default_rng(0)
    samples = rng.normal(size=(400, 20))
    noise = samples - samples.mean(axis=1, keepdims=True)
    assert chance_share(noise) == pytest.approx(1.0, abs=0.05)


def test_equal_images_are_correlated_beyond_chance() -> None:
    # Every squared correlation is 1, of which 1 / (T - 1) would come by chance.
    assert chance_share(np.tile([1.0, -1, 1, -1], (5, 1))) == pytest.approx(1 / 3)


@pytest.mark.parametrize("factors", [np.zeros((3, 4)), np.ones((1, 4)), np.zeros((0, 4))])
def test_where_there_are_no_pairs_nothing_is_correlated(factors: np.ndarray) -> None:
    assert chance_share(factors) == 1.0


def test_an_image_without_calcium_in_any_sample_is_ranked_last() -> None:
    candidates = sampled([[0.0] * 4, [1.0, 2.0, 1.0, 2.0], [1.0, 1.0, 2.0, 2.0]])
    assert draw("batch", candidates, 3, np.random.default_rng(0), random_share=0.0)[2] == 0


def test_only_the_widest_spread_is_looked_at() -> None:
    count = SHORTLIST + 100
    candidates = pool(list(range(count)))
    assert widest_spread(candidates).tolist() == list(range(100, count))


def test_an_image_that_is_not_worth_labeling_tells_nothing() -> None:
    samples = [[0.0, 9.0, 0.0, 9.0], [1.0, 2.0, 2.0, 1.0], [1.0, 2.0, 1.0, 2.0]]
    candidates = replace(sampled(samples), has_candidates=np.array([False, True, True]))
    ranking = rank_joint(candidates, {"label_noise": 0.1})
    assert isinstance(ranking, Joint)
    assert ranking.drops([])[0] == 0.0
