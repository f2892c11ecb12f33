import itertools
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from models import checkpoint
from models.training.augmentation import NO_AUGMENTATION
from models.training.dataset import Batch, SamplingConfig, SliceSampler, TrainingCase
from models.training.reports import DivergedError, EpochReport
from models.training.trainer import Trainer
from models.training.trainer_config import TrainerConfig
from models.training.weighting import Weighting
from tests.models.cases import planted_case, tiny_network

QUICK = TrainerConfig(epochs=3, steps_per_epoch=3, batch_size=4)

_ALLOWED_DROP = 0.05
"""How much worse the first labels may be fitted once there are as many new ones."""


def make_trainer(
    folder: Path, config: TrainerConfig = QUICK, training: list[TrainingCase] | None = None
) -> Trainer:
    cases = [planted_case(1), planted_case(2)] if training is None else training
    return Trainer(tiny_network(), config, cases, [planted_case(3)], folder)


def run_epoch(trainer: Trainer, should_stop: Callable[[], bool] = lambda: False) -> EpochReport:
    return trainer.run_epoch(lambda _: None, should_stop)


def finish(trainer: Trainer, path: Path) -> checkpoint.Checkpoint:
    while not trainer.is_finished:
        run_epoch(trainer)
    path.parent.mkdir(exist_ok=True)
    trainer.write_checkpoint(path, {})
    return checkpoint.load(path)


def assert_equal(first: checkpoint.Checkpoint, second: checkpoint.Checkpoint) -> None:
    assert first.facts == second.facts
    for name, tensor in first.weights.items():
        assert torch.equal(tensor, second.weights[name]), name


def test_resumed_training_equals_uninterrupted_one(tmp_path: Path) -> None:
    whole = finish(make_trainer(tmp_path / "a"), tmp_path / "a" / "best.safetensors")
    run_epoch(make_trainer(tmp_path / "b"))
    resumed = make_trainer(tmp_path / "b")
    assert resumed.resume()
    assert resumed.epoch == 1
    assert_equal(whole, finish(resumed, tmp_path / "b" / "best.safetensors"))


def test_canceled_epoch_leaves_no_trace(tmp_path: Path) -> None:
    whole = finish(make_trainer(tmp_path / "a"), tmp_path / "a" / "best.safetensors")
    trainer = make_trainer(tmp_path / "b")
    for _ in range(2):
        answers = iter([False, False, True])
        report = run_epoch(trainer, lambda answers=answers: next(answers))  # type: ignore[misc]  # mypy cannot infer a lambda with a default
        assert report.is_canceled
        run_epoch(trainer)
    assert trainer.epoch == 2
    assert_equal(whole, finish(trainer, tmp_path / "b" / "best.safetensors"))


def test_validation_can_be_stopped_and_leaves_no_trace(tmp_path: Path) -> None:
    whole = finish(make_trainer(tmp_path / "a"), tmp_path / "a" / "best.safetensors")
    trainer = make_trainer(tmp_path / "b")
    for epoch in range(2):
        # Once before each of the three batches, then before the first of the validation.
        answers = iter([False, False, False, True])
        report = run_epoch(trainer, lambda answers=answers: next(answers))  # type: ignore[misc]  # mypy cannot infer a lambda with a default
        assert report.is_canceled
        assert trainer.epoch == epoch
        run_epoch(trainer)
    assert_equal(whole, finish(trainer, tmp_path / "b" / "best.safetensors"))


def test_a_stop_leaves_the_weights_that_the_training_began_with(tmp_path: Path) -> None:
    initial = make_trainer(tmp_path / "before").weights
    near = replace(QUICK, start="shrink_perturb", seed=5)
    cases, held_out = [planted_case(1), planted_case(2)], [planted_case(3)]
    whole, stopped = (
        Trainer(tiny_network(), near, cases, held_out, tmp_path / name, initial) for name in "ab"
    )
    answers = iter([False, False, True])
    assert run_epoch(stopped, lambda: next(answers)).is_canceled
    assert_equal(
        finish(whole, tmp_path / "a" / "best.safetensors"),
        finish(stopped, tmp_path / "b" / "best.safetensors"),
    )


def test_a_stop_in_the_first_validation_leaves_another_state_alone(tmp_path: Path) -> None:
    run_epoch(make_trainer(tmp_path, replace(QUICK, seed=1)))
    trainer = make_trainer(tmp_path)
    answers = iter([False, False, False, True])
    assert run_epoch(trainer, lambda: next(answers)).is_canceled
    assert trainer.epoch == 0


def test_other_seed_other_weights(tmp_path: Path) -> None:
    first = finish(make_trainer(tmp_path / "a"), tmp_path / "a" / "best.safetensors")
    other = finish(
        make_trainer(tmp_path / "b", replace(QUICK, seed=1)), tmp_path / "b" / "best.safetensors"
    )
    assert not torch.equal(
        first.weights["encoder.stem.0.0.weight"], other.weights["encoder.stem.0.0.weight"]
    )


def test_state_of_another_training_is_refused(tmp_path: Path) -> None:
    run_epoch(make_trainer(tmp_path))
    with pytest.raises(ValueError, match="another configuration or other cases"):
        make_trainer(tmp_path, replace(QUICK, seed=1)).resume()


def test_nothing_to_resume(tmp_path: Path) -> None:
    assert not make_trainer(tmp_path).resume()


def test_progress_ends_at_one(tmp_path: Path) -> None:
    seen: list[float] = []
    make_trainer(tmp_path).run_epoch(seen.append, lambda: False)
    assert seen == pytest.approx([1 / 3, 2 / 3, 1.0])


def test_report_holds_both_metrics(tmp_path: Path) -> None:
    report = run_epoch(make_trainer(tmp_path))
    assert report.epoch == 1
    assert report.skipped_steps == 0
    assert report.validation is not None
    assert set(report.validation.metrics) == {"region", "lesion"}


def test_training_without_validation_keeps_the_last_weights(tmp_path: Path) -> None:
    trainer = Trainer(tiny_network(), QUICK, [planted_case(1)], [], tmp_path)
    assert run_epoch(trainer).validation is None
    result = finish(trainer, tmp_path / "best.safetensors")
    assert result.facts["best_epoch"] == 3
    assert result.facts["best_validation_loss"] is None


def test_stale_validation_ends_the_training(tmp_path: Path) -> None:
    # With a rate of zero only the normalisation's statistics move, soon to and fro.
    trainer = make_trainer(tmp_path, replace(QUICK, epochs=60, peak_rate=0.0, patience=1))
    finish(trainer, tmp_path / "best.safetensors")
    assert trainer.epoch < 60


def test_labels_of_one_task_train_that_task_alone(tmp_path: Path) -> None:
    cases = [planted_case(1, with_region=False), planted_case(2, with_region=False)]
    report = run_epoch(make_trainer(tmp_path, training=cases))
    assert report.task_weights["region"] == 1.0
    assert report.task_weights["lesion"] != 1.0
    assert report.training_loss is not None


def test_training_without_any_label_fails_with_a_sentence(tmp_path: Path) -> None:
    cases = [planted_case(1, with_region=False, with_lesion=False)]
    with pytest.raises(DivergedError, match="no usable loss in 5 steps in a row of epoch 1"):
        run_epoch(make_trainer(tmp_path, replace(QUICK, steps_per_epoch=9), cases))


def test_diverging_training_fails_and_reports_no_nan(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, replace(QUICK, steps_per_epoch=20, peak_rate=1e30))
    with pytest.raises(DivergedError, match="not finite"):
        run_epoch(trainer)


def bad_batch(monkeypatch: pytest.MonkeyPatch, trainer: Trainer, step: int, value: float) -> None:
    """Let one batch of a training hold a value, as after an overflow."""
    draw, drawn = trainer._draw_batch, itertools.count()

    def draw_with_overflow(sampler: SliceSampler, rng: np.random.Generator) -> Batch:
        batch = draw(sampler, rng)
        if next(drawn) == step:
            batch.inputs[0, 0, 0, 0] = value
        return batch

    monkeypatch.setattr(trainer, "_draw_batch", draw_with_overflow)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
def test_overflow_in_a_batch_leaves_no_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    # Without validation the last weights are kept, whatever they are. A value of 1e30 has a
    # variance that is infinite, and a loss that is not.
    config = replace(QUICK, epochs=1)
    cases = [planted_case(1), planted_case(2)]
    trainer = Trainer(tiny_network(), config, cases, [], tmp_path)
    bad_batch(monkeypatch, trainer, 1, value)
    assert run_epoch(trainer).skipped_steps == 1
    assert all(bool(torch.isfinite(tensor).all()) for tensor in trainer.weights.values())


def test_weights_that_are_not_finite_are_never_written(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path)
    before = trainer.weights
    next(iter(trainer._average.buffers())).fill_(float("nan"))
    run_epoch(trainer)
    # Their validation loss is no number, so the weights before stay the best.
    for name, tensor in trainer.weights.items():
        assert torch.equal(tensor, before[name]), name
    next(iter(trainer._best.values())).fill_(float("nan"))
    with pytest.raises(DivergedError, match="weights are not finite"):
        trainer.write_checkpoint(tmp_path / "w.safetensors", {})
    assert not (tmp_path / "w.safetensors").exists()


def test_training_needs_a_volume(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one labeled volume"):
        make_trainer(tmp_path, training=[])


def test_task_weights_do_not_decay(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, replace(QUICK, weight_decay=1e3, peak_rate=1e-5))
    report = run_epoch(trainer)
    # Adam moves s by at most the rate a step, 3e-5 in all; decay would add up to that again.
    decayed = [group for group in trainer._optimizer.param_groups if group["weight_decay"] > 0]
    weighting = set(map(id, trainer._weighting.parameters()))
    assert weighting
    assert not any(id(parameter) in weighting for group in decayed for parameter in group["params"])
    assert report.task_weights["region"] == pytest.approx(1.0, abs=1e-4)


def test_rate_rises_then_falls() -> None:
    config = TrainerConfig(epochs=10, steps_per_epoch=10, peak_rate=1.0, warm_up=0.1)
    rates = [config.rate(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == 1.0
    assert rates[-1] < 0.02
    assert all(first >= second for first, second in pairwise(rates[9:]))


def test_patches_of_a_fixed_size_can_be_trained_on(tmp_path: Path) -> None:
    config = replace(QUICK, sampling=SamplingConfig(patch_size=30))
    assert run_epoch(make_trainer(tmp_path, config)).training_loss is not None


@pytest.mark.parametrize("kind", ["fixed", "homoscedastic"])
def test_overfits_two_planted_volumes(tmp_path: Path, kind: Weighting) -> None:
    config = TrainerConfig(
        epochs=1,
        steps_per_epoch=60,
        batch_size=8,
        peak_rate=0.01,
        average_decay=0.9,
        weighting=kind,
        sampling=SamplingConfig(augmentation=NO_AUGMENTATION),
    )
    cases = [planted_case(1), planted_case(2)]
    trainer = Trainer(tiny_network(), config, cases, cases, tmp_path)
    validation = run_epoch(trainer).validation
    assert validation is not None
    assert validation.metrics["lesion"] > 0.95
    assert validation.metrics["region"] > 0.5


def test_more_labels_do_not_spoil_what_was_learned(tmp_path: Path) -> None:
    """Train on A, then near those weights on A and B: A must be fitted as well as before."""
    config = TrainerConfig(
        epochs=1,
        steps_per_epoch=50,
        batch_size=8,
        average_decay=0.9,
        sampling=SamplingConfig(augmentation=NO_AUGMENTATION),
    )
    first_labels = [planted_case(1), planted_case(2)]
    new_labels = [replace(planted_case(seed), is_new=True) for seed in (3, 4)]
    first = Trainer(tiny_network(), config, first_labels, first_labels, tmp_path / "a")
    before = run_epoch(first).validation
    again = replace(config, start="shrink_perturb")
    both = [*first_labels, *new_labels]
    second = Trainer(tiny_network(), again, both, first_labels, tmp_path / "b", first.weights)
    after = run_epoch(second).validation
    assert before is not None
    assert after is not None
    for task, value in before.metrics.items():
        assert value > 0.5, f"{task} was not learned"
        assert after.metrics[task] >= value - _ALLOWED_DROP, task
