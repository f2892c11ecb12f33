from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import chisquare

from strategies.base import Candidates
from strategies.registry import get_strategy
from strategies.selection import draw_images, prepare
from tests.strategies.factories import count_first_places, draw, mixed_pool, pool

# Few different values, so that ties are the rule.
uncertainties = arrays(
    np.float64, st.integers(0, 12), elements=st.sampled_from([0.0, 0.25, 0.5, 1.0])
)
seeds = st.integers(0, 2**32 - 1)


@given(uncertainties, st.integers(0, 15), seeds)
def test_nothing_left_behind_beats_anything_selected(
    values: np.ndarray, count: int, seed: int
) -> None:
    candidates = pool(values.tolist())
    rng = np.random.default_rng(seed)
    chosen = draw("uncertainty", candidates, count, rng, random_share=0.0)
    left = np.setdiff1d(np.arange(values.size), chosen)
    assert len(chosen) == len(set(chosen)) == min(count, values.size)
    if chosen and left.size:
        assert values[left].max() <= values[chosen].min()


@given(uncertainties, st.integers(0, 15), seeds, st.data())
def test_each_patient_is_chosen_once_and_by_the_most_uncertain_image(
    values: np.ndarray, count: int, seed: int, data: st.DataObject
) -> None:
    patient = data.draw(arrays(np.int64, values.size, elements=st.integers(0, 4)))
    candidates = pool(values.tolist(), patient=patient.tolist())
    rng = np.random.default_rng(seed)
    chosen = draw("uncertainty", candidates, count, rng, random_share=0.0)
    assert len(chosen) == np.unique(patient[chosen]).size == min(count, np.unique(patient).size)
    for index in chosen:
        assert values[index] == values[patient == patient[index]].max()


def test_a_scan_that_is_in_the_pool_twice_is_chosen_once() -> None:
    candidates = pool([0.9, 0.9, 0.1], patient=[7, 7, 8])
    chosen = draw("uncertainty", candidates, 2, np.random.default_rng(0), random_share=0.0)
    assert chosen[0] in (0, 1)
    assert chosen[1:] == [2]


def test_the_patient_of_an_image_chosen_before_is_left_out() -> None:
    candidates = pool([0.9, 0.8, 0.1], patient=[7, 7, 8])
    strategy = get_strategy("uncertainty")
    ranked = prepare(strategy, candidates, strategy.read_options())
    is_open = np.array([False, True, True])
    drawn = draw_images(ranked, is_open, [0], [0.5, 0.5], np.random.default_rng(0))
    assert [draw.index for draw in drawn] == [2]
    assert is_open.tolist() == [False, True, True]


def test_a_negative_count_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a count >= 0, got -1"):
        draw("uncertainty", mixed_pool(), -1, np.random.default_rng(0))


def share_served_first(candidates: Candidates, image: int, *, draws: int = 1500) -> float:
    counts = count_first_places("uncertainty", candidates, draws=draws, seed=17)
    return float(counts[image] / draws)


class TestRandomShare:
    def test_an_empty_image_is_served_by_it_alone(self) -> None:
        # Strata 0 (the empty image) and 11-100 (three images): half of the random share each.
        candidates = pool(
            [0.0, 0.1, 0.2, 0.3],
            agatston=[0.0, 50.0, 50.0, 50.0],
            has_candidates=[False, True, True, True],
        )
        # 0.2 / 2 = 0.1; four standard deviations of 1500 draws are 0.031.
        assert share_served_first(candidates, 0) == pytest.approx(0.1, abs=0.031)

    def test_the_most_uncertain_image_has_the_others_and_its_chance(self) -> None:
        # All four are in one stratum: 0.8 + 0.2 / 4 = 0.85; four standard deviations are 0.037.
        assert share_served_first(pool([0.1, 0.2, 0.9, 0.3]), 2) == pytest.approx(0.85, abs=0.037)

    @pytest.mark.parametrize("count", [5, 10, 40])
    def test_every_batch_has_exactly_its_share(self, count: int) -> None:
        # The uncertain half is of one stratum, the random share finds the others as often.
        candidates = pool(
            [float(value) for value in range(200)], agatston=[50.0] * 100 + [500.0] * 100
        )
        strategy = get_strategy("uncertainty")
        ranked = prepare(strategy, candidates, strategy.read_options())
        for seed in range(20):
            rng = np.random.default_rng(seed)
            places = (rng.permutation(count) + rng.random(count)) / count
            drawn = list(draw_images(ranked, np.ones(200, bool), (), places.tolist(), rng))
            assert sum(draw.is_random for draw in drawn) == pytest.approx(count / 5, abs=1)
            assert len(drawn) == count

    def test_it_can_be_all(self) -> None:
        candidates = pool([0.1, 0.9, 0.5])
        counts = count_first_places("uncertainty", candidates, draws=900, seed=2, random_share=1.0)
        assert chisquare(counts).pvalue > 0.001


class TestCoverage:
    @pytest.mark.parametrize("unscored", [1, 3])
    def test_unscored_images_are_served_as_often_as_they_are_frequent(self, unscored: int) -> None:
        candidates = pool([0.5] * 6, scored=[False] * unscored + [True] * (6 - unscored))
        counts = count_first_places("uncertainty", candidates, draws=1000, seed=8, random_share=0.0)
        assert chisquare(counts).pvalue > 0.001

    def test_an_unscored_image_does_not_push_out_the_order_of_the_scored(self) -> None:
        candidates = pool([0.3, np.nan, 0.9, 0.1], scored=[True, False, True, True])
        for seed in range(20):
            rng = np.random.default_rng(seed)
            order = draw("uncertainty", candidates, 4, rng, random_share=0.0)
            scored = [image for image in order if image != 1]
            assert scored == [2, 0, 3]

    def test_values_of_an_unscored_image_are_not_read(self) -> None:
        """Scores of another model version come in as unscored, whatever their numbers are."""
        stale = pool([0.3, 99.0, 0.2], agatston=[5, 900, 5], scored=[True, False, True])
        empty = pool([0.3, np.nan, 0.2], agatston=[5, np.nan, 5], scored=[True, False, True])
        for seed in range(20):
            assert draw("uncertainty", stale, 3, np.random.default_rng(seed)) == draw(
                "uncertainty", empty, 3, np.random.default_rng(seed)
            )

    def test_below_half_every_draw_is_random_however_uncertain_an_image_is(self) -> None:
        candidates = pool([0.9, 0.1, *[np.nan] * 3], scored=[True, True, False, False, False])
        counts = count_first_places("uncertainty", candidates, draws=1000, seed=8)
        assert chisquare(counts).pvalue > 0.001

    def test_from_half_on_the_ranking_counts(self) -> None:
        candidates = pool([0.9, 0.1, np.nan, np.nan], scored=[True, True, False, False])
        counts = count_first_places("uncertainty", candidates, draws=1000, seed=8, random_share=0.0)
        # Half of the draws are of the unscored; the others all go to the most uncertain image.
        assert counts[1] == 0
        assert counts[0] == pytest.approx(500, abs=64)


class TestArtefacts:
    def test_at_most_a_fifth_of_a_batch_has_them(self) -> None:
        flags = np.array([True] * 10 + [False] * 30)
        candidates = replace(pool([2.0] * 10 + [1.0] * 30), has_artefact=flags)
        batch = draw("uncertainty", candidates, 20, np.random.default_rng(0), random_share=0.0)
        assert np.count_nonzero(flags[batch]) == 4

    def test_a_random_batch_has_as_many_as_the_pool(self) -> None:
        flags = np.array([True] * 30 + [False] * 10)
        candidates = replace(pool([1.0] * 40), has_artefact=flags)
        batch = draw("random", candidates, 40, np.random.default_rng(0))
        # Nothing is held back for the end.
        assert np.count_nonzero(flags[batch[:20]]) > 10

    def test_they_come_when_nothing_else_is_left(self) -> None:
        candidates = replace(pool([2.0] * 3), has_artefact=np.ones(3, dtype=np.bool_))
        batch = draw("uncertainty", candidates, 3, np.random.default_rng(0))
        assert sorted(batch) == [0, 1, 2]
