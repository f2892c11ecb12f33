import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from app.errors import InvalidInputError
from app.recipes.calcium import training_stages
from models.predictor import Predictor
from models.training.trainer import Trainer
from models.training.trainer_config import TrainerConfig
from tests.models.cases import SPACING_MM, THRESHOLD_HU, planted_case, tiny_network

CONFIG = TrainerConfig(epochs=1, steps_per_epoch=1, batch_size=2, average_decay=0.0)


def train(arm: str, folder: Path) -> list[Trainer]:
    """Train an arm stage by stage, as a simulation does."""
    trainers: list[Trainer] = []
    for number, stage in enumerate(training_stages(arm, tiny_network(), CONFIG)):
        before = trainers[-1].weights if trainers else None
        cases = [planted_case(1)]
        own = folder / str(number)
        trainers.append(Trainer(stage.network, stage.trainer, cases, [], own, before))
        trainers[-1].run_epoch(lambda _: None, lambda: False)
    return trainers


def test_joint_arms_differ_in_their_weights_alone() -> None:
    (uncertainty,) = training_stages("joint_uncertainty", tiny_network(), CONFIG)
    (fixed,) = training_stages("joint_fixed", tiny_network(), CONFIG)
    assert uncertainty.trainer.weighting == "homoscedastic"
    assert fixed.trainer.weighting == "fixed"
    assert fixed.network == uncertainty.network == tiny_network()
    assert replace(fixed.trainer, weighting="homoscedastic") == uncertainty.trainer


def test_single_task_predicts_calcium_and_learns_no_region(tmp_path: Path) -> None:
    (trainer,) = train("single_task", tmp_path)
    fresh = Trainer(
        training_stages("single_task", tiny_network(), CONFIG)[0].network,
        CONFIG,
        [planted_case(1)],
        [],
        tmp_path / "fresh",
    ).weights
    changed = {
        name.split(".")[1] for name in fresh if not torch.equal(fresh[name], trainer.weights[name])
    }
    assert "lesion" in changed
    assert "region" not in changed
    trainer.write_checkpoint(tmp_path / "weights.safetensors", {})
    found = Predictor(tmp_path / "weights.safetensors").predict(
        planted_case(2).hu, spacing_mm=SPACING_MM, threshold_hu=THRESHOLD_HU, samples=2, seed=0
    )
    assert found.lesion.shape == planted_case(2).hu.shape


def test_single_task_lesion_reads_no_region_features() -> None:
    (stage,) = training_stages("single_task", tiny_network(), CONFIG)
    assert stage.network.task("lesion").fed_by == ()


def test_second_stage_of_the_sequence_trains_the_lesion_head_on_the_first(tmp_path: Path) -> None:
    first, second = train("sequential", tmp_path)
    assert not any(name.startswith("heads.lesion") for name in first.weights)
    assert all(torch.equal(value, second.weights[name]) for name, value in first.weights.items())


@pytest.mark.parametrize("arm", ["joint_uncertainty", "joint_fixed", "single_task", "sequential"])
def test_every_stage_of_an_arm_can_be_trained(arm: str, tmp_path: Path) -> None:
    for trainer in train(arm, tmp_path):
        assert trainer.epoch == 1
        assert all(math.isfinite(float(value.double().sum())) for value in trainer.weights.values())


def test_unknown_arm_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="no training arm 'both'; known: joint_uncertainty"):
        training_stages("both", tiny_network(), CONFIG)
