import math

import pytest
import torch

from models.tasks import TaskSpec
from models.training.losses import coarse_loss, cross_entropy_dice, task_losses
from models.training.weighting import FixedWeighting, HomoscedasticWeighting, make_weighting

TASKS = (TaskSpec("region", 3), TaskSpec("lesion", 2))


def test_loss_of_an_undecided_network() -> None:
    # Two voxels, two classes, even odds. Cross-entropy is log 2. Dice of class 1: overlap
    # 0.5, sums 1 and 1, so (2 * 0.5 + 1) / (1 + 1 + 1) = 2/3, loss 1/3.
    logits, target = torch.zeros(1, 2, 1, 2), torch.tensor([[[0, 1]]])
    loss = cross_entropy_dice(logits, target, torch.ones(1, 1, 2))
    assert float(loss) == pytest.approx(math.log(2) + 1 / 3)


def test_perfect_prediction_costs_nothing() -> None:
    target = torch.tensor([[[0, 1, 2, 1]]])
    logits = 50.0 * torch.nn.functional.one_hot(target, 3).permute(0, 3, 1, 2).float()
    assert float(cross_entropy_dice(logits, target, torch.ones(1, 1, 4))) == pytest.approx(
        0.0, abs=1e-6
    )


def test_voxels_without_weight_do_not_count() -> None:
    logits = torch.randn(1, 2, 1, 4, generator=torch.Generator().manual_seed(0))
    weight = torch.tensor([[[1.0, 1.0, 0.0, 0.0]]])
    losses = [
        cross_entropy_dice(logits, torch.tensor([[[0, 1, *rest]]]), weight)
        for rest in ((0, 0), (1, 1))
    ]
    assert float(losses[0]) == float(losses[1])


def test_foreground_can_weigh_more_in_the_cross_entropy() -> None:
    # Odds of 3 to 1 for background in both voxels: -log 0.75 once, -log 0.25 three times.
    logits = torch.tensor([[[[math.log(3.0)] * 2], [[0.0, 0.0]]]])
    target, weight = torch.tensor([[[0, 1]]]), torch.ones(1, 1, 2)
    plain, weighted = (
        float(cross_entropy_dice(logits, target, weight, factor)) for factor in (1.0, 3.0)
    )
    entropies = -math.log(0.75), -math.log(0.25)
    assert weighted - plain == pytest.approx(
        (entropies[0] + 3 * entropies[1]) / 4 - (entropies[0] + entropies[1]) / 2, abs=1e-6
    )


def test_missing_task_adds_neither_loss_nor_gradient() -> None:
    logits = {task.name: torch.zeros(1, task.classes, 2, 2, requires_grad=True) for task in TASKS}
    targets = {task.name: torch.zeros(1, 2, 2, dtype=torch.long) for task in TASKS}
    weights = {"region": torch.zeros(1, 2, 2), "lesion": torch.ones(1, 2, 2)}
    losses = task_losses(TASKS, logits, targets, weights)
    assert set(losses) == {"lesion"}
    weighting = HomoscedasticWeighting(("region", "lesion"))
    weighting(losses).backward()
    assert logits["region"].grad is None
    assert weighting.log_variances["region"].grad is None
    assert logits["lesion"].grad is not None


def test_homoscedastic_weighting_by_hand() -> None:
    weighting = HomoscedasticWeighting(("a", "b"))
    with torch.no_grad():
        weighting.log_variances["a"].fill_(math.log(2.0))
    # a: exp(-log 2) * 3 + log(2) / 2 = 1.5 + 0.3466; b: 1 * 4 + 0.
    total = weighting({"a": torch.tensor(3.0), "b": torch.tensor(4.0)})
    assert float(total.detach()) == pytest.approx(5.5 + math.log(2.0) / 2)
    assert weighting.task_weights() == {"a": pytest.approx(0.5), "b": pytest.approx(1.0)}


def test_homoscedastic_weight_settles_where_theory_says() -> None:
    # The minimum of exp(-s) L + s / 2 is at exp(-s) = 1 / (2 L).
    weighting = HomoscedasticWeighting(("a",))
    optimizer = torch.optim.SGD(weighting.parameters(), lr=0.2)
    for _ in range(200):
        optimizer.zero_grad()
        weighting({"a": torch.tensor(2.0)}).backward()
        optimizer.step()
    assert weighting.task_weights()["a"] == pytest.approx(0.25, rel=1e-3)


@pytest.mark.parametrize(("value", "kept"), [(-9.0, -5.0), (9.0, 5.0), (1.5, 1.5)])
def test_log_variance_is_clamped(value: float, kept: float) -> None:
    weighting = HomoscedasticWeighting(("a",))
    with torch.no_grad():
        weighting.log_variances["a"].fill_(value)
    weighting.clamp()
    assert float(weighting.log_variances["a"].detach()) == kept


def test_fixed_weights_are_constant() -> None:
    weighting = make_weighting("fixed", {"a": 2.0, "b": 0.5})
    assert isinstance(weighting, FixedWeighting)
    assert float(weighting({"a": torch.tensor(3.0), "b": torch.tensor(4.0)})) == 8.0
    assert list(weighting.parameters()) == []


def test_coarse_loss_looks_at_the_middle_of_each_block() -> None:
    # Class 1 in pixel (1, 1) of each block of 2 x 2 alone: a network that says class 1
    # everywhere at half resolution is right.
    target = torch.zeros(1, 4, 4, dtype=torch.long)
    target[:, 1::2, 1::2] = 1
    logits = torch.stack([torch.full((1, 2, 2), -50.0), torch.full((1, 2, 2), 50.0)], dim=1)
    loss = coarse_loss(TASKS[1], [logits], target, torch.ones(1, 4, 4))
    assert float(loss) == pytest.approx(0.0, abs=1e-6)
