import numpy as np
import pytest
from scipy.stats import spearmanr

from server.bench.uncertainty import Judged, area_under_roc, beside_one_pass


@pytest.mark.parametrize(
    ("values", "wrong", "area"),
    [
        ([0.1, 0.2, 0.8, 0.9], [False, False, True, True], 1.0),
        ([0.1, 0.2, 0.8, 0.9], [True, True, False, False], 0.0),
        # Of four pairs three are in order and one is a tie: 3.5 / 4.
        ([0.1, 0.5, 0.5, 0.7], [False, True, False, True], 0.875),
        ([0.3, 0.3, 0.3], [True, False, False], 0.5),
    ],
)
def test_area_is_the_chance_of_a_wrong_item_to_be_higher(
    values: list[float], wrong: list[bool], area: float
) -> None:
    assert area_under_roc(np.array(values), np.array(wrong)) == pytest.approx(area)


@pytest.mark.parametrize("wrong", [[True, True], [False, False]])
def test_area_is_a_half_where_nothing_can_be_told_apart(wrong: list[bool]) -> None:
    assert area_under_roc(np.array([0.1, 0.9]), np.array(wrong)) == 0.5


def judged(error: float, sampled: float, entropy: float) -> Judged:
    none, no = np.zeros(0), np.zeros(0, np.bool_)
    measures = {"samples": sampled, "entropy of one pass": entropy}
    return Judged(error, error, measures, no, no, none, none, none)


def test_a_measure_that_tells_more_than_one_pass_gains() -> None:
    rng = np.random.default_rng(4)
    patients = [judged(error, 2 * error, noise) for error, noise in rng.random((40, 2))]
    for figure in beside_one_pass(patients):
        alone = spearmanr(
            [one.score_error for one in patients],
            [one.measures["entropy of one pass"] for one in patients],
        ).statistic
        assert figure.value == pytest.approx(1.0 - alone)
        low, high = (float(word) for word in figure.note.split()[-3::2])
        assert 0.0 < low < figure.value < high


def test_a_measure_that_tells_the_same_gains_nothing() -> None:
    patients = [judged(error, error, error) for error in (0.0, 1.0, 4.0, 2.0)]
    for figure in beside_one_pass(patients):
        assert figure.value == 0.0
        assert figure.note == "95 % interval 0.00 to 0.00"
