from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from models.network import MultiTaskNetwork
from models.tasks import LESION, REGION
from models.training.dataset import TrainingCase
from models.training.schedules import Schedule, Turn, TurnSampler, plan_turns
from models.training.trainer import Trainer
from models.training.trainer_config import Start, TrainerConfig
from models.training.validation import validate
from tests.models.cases import planted_case, tiny_network

TASKS = ("region", "lesion")
REGION_TURN = Turn(("region",), trains_encoder=True)
LESION_TURN = Turn(("lesion",), trains_encoder=True)
CONFIG = TrainerConfig(epochs=4, steps_per_epoch=1, batch_size=4, average_decay=0.0, warm_up=0.0)


def weights_of(seed: int) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    return dict(MultiTaskNetwork(tiny_network()).state_dict())


def make_trainer(
    folder: Path,
    schedule: Schedule,
    turns: Mapping[str, int],
    start: Start = "warm",
    cases: list[TrainingCase] | None = None,
) -> Trainer:
    config = replace(CONFIG, schedule=schedule, turns=turns, start=start)
    training = cases or [planted_case(1)]
    return Trainer(tiny_network(), config, training, [], folder, weights_of(5))


def weights_by_step(trainer: Trainer, steps: int) -> Iterator[tuple[dict[str, Tensor], set[str]]]:
    """Yield the weights after each step and the parts that it changed."""
    before = dict(trainer.weights)
    for _ in range(steps):
        trainer.run_epoch(lambda _: None, lambda: False)
        after = dict(trainer.weights)
        yield after, {part_of(name) for name in after if not torch.equal(before[name], after[name])}
        before = after


def part_of(name: str) -> str:
    return name.split(".")[1] if name.startswith("heads") else "encoder"


def test_one_batch_trains_all_tasks_jointly() -> None:
    assert plan_turns("joint", {}, TASKS) == (Turn(TASKS, trains_encoder=True),)


def test_tasks_take_as_many_batches_in_a_row_as_they_are_given() -> None:
    turns = plan_turns("alternating", {"lesion": 2}, TASKS)
    assert turns == (REGION_TURN, LESION_TURN, LESION_TURN)


def test_task_without_a_turn_is_not_trained() -> None:
    turns = plan_turns("independent", {"region": 0}, TASKS)
    assert turns == (Turn(("lesion",), trains_encoder=False),)


@pytest.mark.parametrize(
    ("turns", "message"),
    [
        ({"plaque": 1}, "plaque"),
        ({"region": -1}, "must not be negative"),
        ({"region": 0, "lesion": 0}, "no task has a turn"),
    ],
)
def test_turns_that_cannot_be_taken_are_refused(turns: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plan_turns("alternating", turns, TASKS)


def test_joint_batch_changes_every_part(tmp_path: Path) -> None:
    ((_, changed),) = weights_by_step(make_trainer(tmp_path, "joint", {}), 1)
    assert changed == {"encoder", "region", "lesion"}


def test_alternating_turn_changes_its_head_and_the_encoder_alone(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, "alternating", {})
    changes = [changed for _, changed in weights_by_step(trainer, 4)]
    assert changes == [{"encoder", "region"}, {"encoder", "lesion"}] * 2


def test_independent_heads_leave_the_encoder_bit_equal(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, "independent", {})
    changes = [changed for _, changed in weights_by_step(trainer, 4)]
    assert changes == [{"region"}, {"lesion"}] * 2


@pytest.mark.parametrize("start", ["warm", "transfer"])
def test_frozen_encoder_is_that_of_the_weights_before(tmp_path: Path, start: Start) -> None:
    trainer = make_trainer(tmp_path, "independent", {}, start)
    trainer.run_epoch(lambda _: None, lambda: False)
    after = trainer.weights
    for name, tensor in weights_of(5).items():
        assert part_of(name) != "encoder" or torch.equal(tensor, after[name]), name


def test_independent_heads_need_an_encoder(tmp_path: Path) -> None:
    config = replace(CONFIG, schedule="independent", start="warm")
    with pytest.raises(ValueError, match="on a given encoder, got none"):
        Trainer(tiny_network(), config, [planted_case(1)], [], tmp_path)


def test_encoder_that_is_not_trained_cannot_start_fresh() -> None:
    with pytest.raises(ValueError, match="must start warm or by transfer, got shrink_perturb"):
        replace(CONFIG, schedule="independent", start="shrink_perturb")


def test_second_stage_keeps_what_the_first_learned(tmp_path: Path) -> None:
    region_network = replace(tiny_network(), tasks=(replace(REGION, stop_level=1),))
    first = Trainer(region_network, CONFIG, [planted_case(1)], [], tmp_path / "1")
    first.run_epoch(lambda _: None, lambda: False)
    config = replace(CONFIG, schedule="independent", turns={"region": 0}, start="transfer")
    second = Trainer(
        tiny_network(), config, [planted_case(1)], [], tmp_path / "2", initial=first.weights
    )
    ((after, changed),) = weights_by_step(second, 1)
    assert changed == {"lesion"}
    for name, tensor in first.weights.items():
        assert torch.equal(tensor, after[name]), name


def test_transfer_refuses_an_encoder_of_another_shape(tmp_path: Path) -> None:
    other = MultiTaskNetwork(replace(tiny_network(), stem_width=7)).state_dict()
    config = replace(CONFIG, start="transfer")
    with pytest.raises(ValueError, match="another shape"):
        Trainer(tiny_network(), config, [planted_case(1)], [], tmp_path, initial=other)


def test_transfer_refuses_weights_without_an_encoder(tmp_path: Path) -> None:
    headless = {name: value for name, value in weights_of(5).items() if name.startswith("heads")}
    config = replace(CONFIG, start="transfer")
    with pytest.raises(ValueError, match="another shape"):
        Trainer(tiny_network(), config, [planted_case(1)], [], tmp_path, initial=headless)


def test_network_of_one_task_trains_that_task(tmp_path: Path) -> None:
    network = replace(tiny_network(), tasks=(replace(LESION, fed_by=()),))
    trainer = Trainer(network, CONFIG, [planted_case(1)], [planted_case(2)], tmp_path)
    report = trainer.run_epoch(lambda _: None, lambda: False)
    assert report.validation is not None
    assert set(report.validation.metrics) == {"lesion"}


def test_each_turn_draws_from_the_cases_with_its_label() -> None:
    cases = [planted_case(1, with_region=False), planted_case(2, with_lesion=False)]
    sampler = TurnSampler(cases, plan_turns("alternating", {}, TASKS), (1.0, 1.0, 1.0, 1.0))
    drawn = sampler.sampler(sampler.turn(0), favours_new=False).draw(
        50, rng := np.random.default_rng(0)
    )
    assert {item.case.case_id for item in drawn} == {"planted-2"}
    drawn = sampler.sampler(sampler.turn(1), favours_new=False).draw(50, rng)
    assert {item.case.case_id for item in drawn} == {"planted-1"}


def test_validation_counts_the_loss_of_trained_tasks_alone() -> None:
    network = MultiTaskNetwork(tiny_network())
    both, lesion = (
        validate(network, [planted_case(1)], 4, torch.device("cpu"), names)
        for names in (TASKS, ("lesion",))
    )
    assert both is not None
    assert lesion is not None
    assert lesion.loss < both.loss
    assert lesion.metrics == both.metrics


def test_turn_that_no_case_has_a_label_for_is_left_out() -> None:
    cases = [planted_case(1, with_region=False)]
    sampler = TurnSampler(cases, plan_turns("alternating", {}, TASKS), (1.0, 1.0, 1.0, 1.0))
    assert [sampler.turn(step) for step in range(2)] == [LESION_TURN, LESION_TURN]


def test_turns_without_any_label_are_refused() -> None:
    cases = [planted_case(1, with_region=False)]
    with pytest.raises(ValueError, match="no case has a label of a task"):
        TurnSampler(cases, [REGION_TURN], (1.0, 1.0, 1.0, 1.0))


def test_resumed_alternation_goes_on_with_the_turn_it_was_at(tmp_path: Path) -> None:
    whole = [
        weights
        for weights, _ in weights_by_step(make_trainer(tmp_path / "a", "alternating", {}), 3)
    ]
    make_trainer(tmp_path / "b", "alternating", {}).run_epoch(lambda _: None, lambda: False)
    resumed = make_trainer(tmp_path / "b", "alternating", {})
    assert resumed.resume()
    *_, (last, changed) = weights_by_step(resumed, 2)
    assert changed == {"encoder", "region"}
    assert all(torch.equal(tensor, last[name]) for name, tensor in whole[-1].items())
