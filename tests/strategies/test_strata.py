import numpy as np
import pytest

from strategies.strata import UNSCORED_STRATUM, candidate_strata, risk_strata
from tests.strategies.factories import mixed_pool


@pytest.mark.parametrize(
    ("agatston", "stratum"),
    [(0, 0), (0.01, 1), (10, 1), (10.01, 2), (100, 2), (100.01, 3), (400, 3), (400.01, 4)],
)
def test_stratum_follows_the_unrounded_score(agatston: float, stratum: int) -> None:
    assert risk_strata(np.array([agatston])).tolist() == [stratum]


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0])
def test_impossible_scores_have_no_stratum(value: float) -> None:
    with pytest.raises(ValueError, match="expected finite Agatston scores"):
        risk_strata(np.array([value]))


def test_unscored_images_form_a_stratum_of_their_own() -> None:
    # Agatston 5, 250, 900, 0, and two without a score.
    expected = [1, 3, 4, 0, UNSCORED_STRATUM, UNSCORED_STRATUM]
    assert candidate_strata(mixed_pool()).tolist() == expected
