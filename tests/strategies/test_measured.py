from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from strategies.measured import combined_uncertainty
from tests.strategies.factories import draw, pool


def test_clinical_and_lesion_ranks_count_alike() -> None:
    candidates = pool([0.1, 0.2, 9.0], lesion=[5.0, 3.0, 4.0])
    # Ranks 1 2 3 and 3 1 2: means 2, 1.5, 2.5, as shares of three images.
    np.testing.assert_allclose(combined_uncertainty(candidates), [2 / 3, 1.5 / 3, 2.5 / 3])


def test_an_image_without_candidates_has_no_uncertainty_and_does_not_shift_the_others() -> None:
    candidates = pool([0.1, 5.0, 0.2], has_candidates=[True, False, True])
    np.testing.assert_allclose(combined_uncertainty(candidates), [0.5, 0.0, 1.0])


def test_scored_images_are_ordered_by_uncertainty() -> None:
    candidates = pool([0.3, 0.9, 0.1, 0.5])
    batch = draw("uncertainty", candidates, 4, np.random.default_rng(0), random_share=0.0)
    assert batch == [1, 3, 0, 2]


@pytest.mark.parametrize("name", ["entropy", "bald"])
def test_images_are_ordered_by_the_measure_of_the_name(name: str) -> None:
    measure: dict[str, Any] = {name: np.array([0.1, 0.5, 0.3])}
    candidates = replace(pool([0.9, 0.1, 0.2]), **measure)
    assert draw(name, candidates, 3, np.random.default_rng(0), random_share=0.0) == [1, 2, 0]


@pytest.mark.parametrize(
    ("name", "field"),
    [("entropy", "entropy"), ("bald", "bald"), ("batch", "log_agatston")],
)
def test_a_measure_that_is_missing_is_refused(name: str, field: str) -> None:
    nothing: dict[str, Any] = {field: None}
    candidates = replace(pool([0.9, 0.1]), **nothing)
    with pytest.raises(ValueError, match=f"expected candidates with {field}, got None"):
        draw(name, candidates, 1, np.random.default_rng(0))
