"""What is chosen from a simulated pool, and what it costs."""

import numpy as np
import pytest

from app.calcium.labels import LABELS
from app.errors import InvalidInputError
from app.evaluation import EvaluationCase
from app.simulation.cases import Oracle, start_set
from app.simulation.choosing import choose
from app.simulation.costs import CostModel
from app.simulation.outcomes import PoolView
from app.simulation.plan import Arm, Plan, Task, compared_strategies, strategy_arms
from tests.app.test_evaluation import SHAPE, block, case, heart
from tests.factories import make_grid

GRID = make_grid(SHAPE, spacing_mm=(3.0, 1.0, 1.0))
COUNT = 12


def made(lesions: int) -> EvaluationCase:
    mask = np.zeros(SHAPE, np.bool_)
    for lesion in range(lesions):
        mask |= block(slice(3 * lesion, 3 * lesion + 2))
    return case(heart(mask, GRID), mask)


@pytest.fixture(scope="module")
def oracle() -> Oracle:
    """Two of twelve patients have calcium, one of them two lesions."""
    pool = [made({3: 1, 8: 2}.get(place, 0)) for place in range(COUNT)]
    return Oracle({"pool": pool, "test": pool[:1]}, [str(place) for place in range(COUNT)])


@pytest.fixture
def view() -> PoolView:
    rng = np.random.default_rng(0)
    clinical = np.linspace(0.1, 1.0, COUNT)
    return PoolView(
        clinical_uncertainty=clinical,
        lesion_uncertainty=clinical / 10,
        agatston=np.linspace(1.0, 900.0, COUNT),
        has_candidates=np.ones(COUNT, np.bool_),
        entropy=clinical / 5,
        bald=clinical / 20,
        artery_entropy=rng.random((COUNT, 4)),
        log_agatston=rng.random((COUNT, 5)).astype(np.float32),
        embedding=rng.random((COUNT, 6)).astype(np.float32),
        lesions=np.arange(COUNT),
    )


def test_the_start_has_calcium_and_is_that_of_the_seed(oracle: Oracle) -> None:
    starts = [start_set(oracle, 4, seed) for seed in range(30)]
    assert all({3, 8} <= set(places) for places in starts)
    assert all(len(set(places)) == 4 for places in starts)
    assert starts[7] == start_set(oracle, 4, 7)
    assert len(set(starts)) > 20


@pytest.mark.parametrize("name", compared_strategies())
def test_every_strategy_adds_new_images_and_is_repeatable(
    name: str, oracle: Oracle, view: PoolView
) -> None:
    taken = (1, 3, 8)
    first, second = (choose(name, oracle, taken, [view], 4, seed=5) for _ in range(2))
    assert first == second
    assert set(taken) < set(first)
    assert len(first) == 7


def test_seeds_choose_otherwise(oracle: Oracle, view: PoolView) -> None:
    chosen = {choose("random", oracle, (3, 8), [view], 4, seed=seed) for seed in range(10)}
    assert len(chosen) > 5


def test_random_chooses_the_same_with_a_model_and_without(oracle: Oracle, view: PoolView) -> None:
    with_model = choose("random", oracle, (3, 8), [view], 4, seed=1)
    assert with_model == choose("random", oracle, (3, 8), [], 4, seed=1)


def test_uncertain_images_are_preferred(oracle: Oracle, view: PoolView) -> None:
    counts = np.zeros(COUNT)
    for seed in range(40):
        counts[list(choose("uncertainty", oracle, (3, 8), [view], 3, seed=seed))] += 1
    assert counts[[9, 10, 11]].min() > counts[[0, 1, 2]].max()


def test_one_scan_of_a_patient_a_batch(view: PoolView) -> None:
    pool = [made(1) for _ in range(COUNT)]
    twins = Oracle({"pool": pool, "test": pool[:1]}, [str(place // 2) for place in range(COUNT)])
    chosen = choose("random", twins, (0,), [view], 5, seed=0)
    assert len({place // 2 for place in chosen if place}) == 5


def test_the_middle_scan_costs_what_is_published() -> None:
    model = CostModel.of_pool(np.array([0, 1, 2, 2, 30]))
    assert model.seconds(np.array([2]), is_checked=False).tolist() == [59.0]
    assert model.seconds(np.array([2, 3, 0]), is_checked=True).tolist() == [36.0, 42.0, 24.0]


def test_no_scan_is_labeled_in_no_time() -> None:
    model = CostModel.of_pool(np.array([20, 20]))
    assert model.seconds(np.array([0]), is_checked=True).tolist() == [10.0]


@pytest.mark.parametrize("budgets", [(4,), (4, 4), (8, 4), (0, 4)])
def test_budgets_without_a_curve_are_refused(budgets: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInputError, match="ascending budgets"):
        Task(budgets=budgets, network="tiny")


def test_plans_without_meaning_are_refused() -> None:
    task = Task(budgets=(2, 4), network="tiny")
    with pytest.raises(InvalidInputError, match="different names"):
        Plan(task, (Arm("a", "random"), Arm("a", "bald")), (1,))
    with pytest.raises(InvalidInputError, match="different seeds"):
        Plan(task, (Arm("a", "random"),), (1, 1))
    with pytest.raises(InvalidInputError, match="model of every round"):
        Plan(task, (Arm("a", "bald", rounds=(0, 1)),), (1,))
    with pytest.raises(InvalidInputError, match="no strategy 'best'"):
        strategy_arms(("best",))


def test_labels_of_the_oracle_count_lesions(oracle: Oracle) -> None:
    assert oracle.lesions.tolist() == [0, 0, 0, 1, 0, 0, 0, 0, 2, 0, 0, 0]
    assert oracle.pool[3].labels.max() == LABELS["LAD"]
