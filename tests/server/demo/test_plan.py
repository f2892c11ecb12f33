"""How many labels each round ends with, and what cannot be played."""

from collections.abc import Callable
from itertools import pairwise

import pytest

from app.errors import InvalidInputError
from server.demo.plan import DemoPlan


def test_rounds_end_with_equal_steps_from_15_to_75_percent_of_the_pool() -> None:
    # 40 patients: 6 at 15 %, 30 at 75 %, and two equal steps of 8 between them.
    assert DemoPlan(pool=40, rounds=4).label_goals == (6, 14, 22, 30)


def test_a_single_round_labels_75_percent_of_the_pool() -> None:
    assert DemoPlan(pool=40, rounds=1).label_goals == (30,)


@pytest.mark.parametrize("rounds", range(1, 6))
@pytest.mark.parametrize("pool", range(14, 60, 7))
def test_every_round_labels_something_and_leaves_some_of_the_pool(pool: int, rounds: int) -> None:
    goals = DemoPlan(pool=pool, rounds=rounds).label_goals
    assert goals[0] >= 3
    assert all(before < after for before, after in pairwise(goals))
    assert goals[-1] < pool


def test_patients_to_test_on_never_share_a_seed_with_the_pool() -> None:
    assert DemoPlan(seed=7).test_seed != 7


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: DemoPlan(pool=5), "pool"),
        (lambda: DemoPlan(test=1), "test"),
        (lambda: DemoPlan(rounds=0), "rounds"),
        (lambda: DemoPlan(epochs=0), "epochs"),
    ],
)
def test_refuses_what_cannot_be_played(make: Callable[[], DemoPlan], name: str) -> None:
    with pytest.raises(InvalidInputError, match=f"expected {name} of at least"):
        make()


def test_refuses_more_rounds_than_there_are_images_to_label() -> None:
    # 6 patients give 3 to 4 labels: the second round would have one, a third nothing.
    with pytest.raises(InvalidInputError, match="round"):
        DemoPlan(pool=6, rounds=3)
