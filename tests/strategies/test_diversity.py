from dataclasses import replace

import numpy as np
import pytest

from strategies.base import Candidates
from strategies.diversity import SHORTLIST, spread_out
from tests.strategies.factories import count_first_places, draw, pool


def placed(positions: list[float], **known: object) -> Candidates:
    """Build a pool of images on a line, all of one stratum."""
    embedding = np.array(positions, np.float32)[:, None]
    return replace(pool([0.1] * len(positions)), embedding=embedding, **known)  # type: ignore[arg-type]  # fields by name


def chosen(candidates: Candidates, count: int, **options: float) -> list[int]:
    shares = {"random_share": 0.0, "outlier_share": 0.0} | options
    return draw("diversity", candidates, count, np.random.default_rng(0), **shares)


def test_the_first_image_is_the_most_typical_and_the_next_the_farthest_from_it() -> None:
    # 2 is nearest to all others on average; 9 is farthest from it, then 0.
    assert chosen(placed([0.0, 1.0, 2.0, 3.0, 9.0]), 3) == [2, 4, 0]


def test_what_is_labeled_counts_as_covered() -> None:
    candidates = placed([0.0, 1.0, 5.0, 9.0], taken_embedding=np.array([[9.0]], np.float32))
    # Distances to the label: 9, 8, 4, 0; then to 0 as well: 1 and 4 are left.
    assert chosen(candidates, 3) == [0, 2, 1]


def test_outliers_are_left_to_the_random_draws() -> None:
    candidates = placed([*np.linspace(0, 1, 9), 100.0])
    assert 9 in chosen(candidates, 2)
    assert 9 not in chosen(candidates, 2, outlier_share=0.1)


def test_strata_are_taken_in_turn() -> None:
    candidates = replace(
        pool([0.1] * 6, agatston=[0.0, 0.0, 0.0, 0.0, 5.0, 900.0]),
        embedding=np.array([[0.0], [50.0], [100.0], [150.0], [1.0], [2.0]], np.float32),
    )
    assert {4, 5} <= set(chosen(candidates, 3))


def test_every_feature_counts_alike() -> None:
    # In the second column, of tiny numbers, image 2 is as unlike as can be.
    columns = np.array([[100.0, 0.0], [110.0, 0.0], [105.0, 0.001]], np.float32)
    label = np.array([[105.0, 0.0]], np.float32)
    candidates = replace(placed([0.0] * 3), embedding=columns, taken_embedding=label)
    assert chosen(candidates, 1) == [2]


def test_before_there_is_a_model_the_facts_of_the_images_are_enough() -> None:
    candidates = placed([0.0, 1.0, 2.0, 3.0, 9.0], is_scored=np.zeros(5, np.bool_))
    assert chosen(candidates, 3) == [2, 4, 0]


def test_without_any_features_images_are_drawn_at_random() -> None:
    candidates = replace(pool([np.nan] * 4, scored=[False] * 4), embedding=None)
    counts = count_first_places("diversity", candidates, draws=100, seed=1)
    assert (counts > 0).all()


def test_a_large_pool_is_covered_by_the_same_part_of_it_each_time() -> None:
    candidates = pool([0.1] * (2 * SHORTLIST))
    part = spread_out(candidates)
    assert part.size == np.unique(part).size == SHORTLIST
    assert part.tolist() == spread_out(candidates).tolist()
    # Drawn evenly: as many of the first half as of the second, four deviations of 16 allowed.
    assert np.count_nonzero(part < SHORTLIST) == pytest.approx(SHORTLIST / 2, abs=64)


def test_features_of_another_network_are_no_measure_of_what_is_covered() -> None:
    candidates = placed([0.0, 1.0, 9.0], taken_embedding=np.zeros((3, 7), np.float32))
    assert chosen(candidates, 1) == [1]
