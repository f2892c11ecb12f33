import numpy as np

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
