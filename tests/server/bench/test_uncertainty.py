import numpy as np
import pytest

from server.bench.uncertainty import area_under_roc


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
