from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from models import checkpoint
from models.network import MultiTaskNetwork
from models.training.dataset import SliceSampler, TrainingCase
from models.training.starting import begin_near, recalculate_normalization, weights_digest
from models.training.trainer import Trainer
from models.training.trainer_config import Start, TrainerConfig
from tests.models.cases import planted_case, tiny_network

CONFIG = TrainerConfig(epochs=2, steps_per_epoch=2, batch_size=4, peak_rate=1e-3)
OUTPUT = "heads.lesion.output.1.weight"
MEAN = "encoder.stem.0.1.running_mean"


def network_of(seed: int) -> MultiTaskNetwork:
    torch.manual_seed(seed)
    return MultiTaskNetwork(tiny_network())


def weights_of(seed: int) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network_of(seed).state_dict().items()}


def make_trainer(
    folder: Path,
    start: Start,
    initial: Mapping[str, Tensor] | None,
    training: list[TrainingCase] | None = None,
) -> Trainer:
    cases = [planted_case(1), planted_case(2)] if training is None else training
    config = replace(CONFIG, start=start)
    return Trainer(tiny_network(), config, cases, [planted_case(3)], folder, initial)


def finish(trainer: Trainer, path: Path) -> checkpoint.Checkpoint:
    while not trainer.is_finished:
        trainer.run_epoch(lambda _: None, lambda: False)
    trainer.write_checkpoint(path, {})
    return checkpoint.load(path)


def begin(folder: Path, start: Start, initial: Mapping[str, Tensor] | None) -> Mapping[str, Tensor]:
    """Return the weights before the first step."""
    trainer = make_trainer(folder, start, initial)
    trainer.write_checkpoint(folder / "start.safetensors", {})
    return checkpoint.load(folder / "start.safetensors").weights


def test_warm_start_begins_at_the_weights_before(tmp_path: Path) -> None:
    before = weights_of(5)
    assert torch.equal(begin(tmp_path, "warm", before)[OUTPUT], before[OUTPUT])


def test_shrunk_weights_get_a_share_of_fresh_ones() -> None:
    before, fresh, network = weights_of(5), weights_of(0), network_of(0)
    begin_near(network, before, replace(CONFIG, start="shrink_perturb", shrink=0.5, perturb=0.1))
    torch.testing.assert_close(
        network.state_dict()[OUTPUT], 0.5 * before[OUTPUT] + 0.1 * fresh[OUTPUT]
    )


def test_fresh_start_leaves_the_weights_before_aside(tmp_path: Path) -> None:
    for name, folder in (("a", weights_of(5)), ("b", None)):
        (tmp_path / name).mkdir()
        begin(tmp_path / name, "fresh", folder)
    first, second = (checkpoint.load(tmp_path / name / "start.safetensors") for name in "ab")
    assert torch.equal(first.weights[OUTPUT], second.weights[OUTPUT])
    assert first.facts["start"] == "fresh"
    assert first.facts["initial_weights"] is None


def test_first_training_starts_fresh_whatever_was_asked_for(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, "shrink_perturb", None)
    trainer.write_checkpoint(tmp_path / "start.safetensors", {})
    assert checkpoint.load(tmp_path / "start.safetensors").facts["start"] == "fresh"


def test_checkpoint_tells_where_the_training_began(tmp_path: Path) -> None:
    before = weights_of(5)
    facts = finish(make_trainer(tmp_path, "warm", before), tmp_path / "w.safetensors").facts
    assert facts["start"] == "warm"
    assert facts["initial_weights"] == weights_digest(before)


def test_statistics_are_those_of_the_batches_not_of_the_version_before(tmp_path: Path) -> None:
    before = weights_of(5) | {MEAN: torch.full((6,), 77.0)}
    assert float(begin(tmp_path, "warm", before)[MEAN].abs().max()) < 10.0


def test_recalculated_statistics_are_the_mean_over_all_batches() -> None:
    layer = torch.nn.BatchNorm2d(1)
    network = torch.nn.Sequential(layer).eval()
    recalculate_normalization(network, [torch.full((2, 1, 4, 4), value) for value in (1.0, 5.0)])
    assert layer.running_mean is not None
    # Means of 1 and 5 give 3; with the usual momentum of 0.1 they would give 0.59.
    assert float(layer.running_mean) == pytest.approx(3.0)
    assert layer.momentum == 0.1
    assert not layer.training


@pytest.mark.parametrize("start", ["warm", "shrink_perturb"])
def test_resumed_training_equals_uninterrupted_one(tmp_path: Path, start: Start) -> None:
    before = weights_of(5)
    whole = finish(make_trainer(tmp_path / "a", start, before), tmp_path / "a.safetensors")
    make_trainer(tmp_path / "b", start, before).run_epoch(lambda _: None, lambda: False)
    resumed = make_trainer(tmp_path / "b", start, before)
    assert resumed.resume()
    other = finish(resumed, tmp_path / "b.safetensors")
    assert whole.facts == other.facts
    for name, tensor in whole.weights.items():
        assert torch.equal(tensor, other.weights[name]), name


def test_canceled_first_epoch_goes_back_to_the_weights_before(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, "warm", before := weights_of(5))
    answers = iter([False, True])
    trainer.run_epoch(lambda _: None, lambda: next(answers))
    canceled = finish(trainer, tmp_path / "a.safetensors")
    other = finish(make_trainer(tmp_path / "b", "warm", before), tmp_path / "b.safetensors")
    assert torch.equal(canceled.weights[OUTPUT], other.weights[OUTPUT])


def test_state_that_began_elsewhere_is_refused(tmp_path: Path) -> None:
    make_trainer(tmp_path, "warm", weights_of(5)).run_epoch(lambda _: None, lambda: False)
    with pytest.raises(ValueError, match="another configuration or other cases"):
        make_trainer(tmp_path, "warm", weights_of(6)).resume()


def test_weights_of_another_shape_are_refused(tmp_path: Path) -> None:
    other = MultiTaskNetwork(replace(tiny_network(), head_width=9)).state_dict()
    with pytest.raises(ValueError, match="another shape; start fresh"):
        make_trainer(tmp_path, "warm", other)


@pytest.mark.parametrize("factors", [{"shrink": 1.5}, {"shrink": -0.1}, {"perturb": -0.1}])
def test_factors_that_make_no_sense_are_refused(factors: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="shrink must be from 0 to 1"):
        replace(CONFIG, **factors)  # type: ignore[arg-type]  # floats only


def test_digest_depends_on_values_alone() -> None:
    weights = weights_of(5)
    assert weights_digest(weights) == weights_digest(dict(reversed(weights.items())))
    changed = weights | {OUTPUT: weights[OUTPUT] + 1e-6}
    assert weights_digest(weights) != weights_digest(changed)


def test_new_cases_come_twice_as_often_at_first() -> None:
    old, new = planted_case(1), replace(planted_case(2), is_new=True)
    sampler = SliceSampler([old, new, new], (1.0, 1.0, 1.0, 1.0))
    items = sampler.draw(3000, np.random.default_rng(0))
    share = sum(item.case.is_new for item in items) / len(items)
    assert share == pytest.approx(2 / 3, abs=0.05)


def test_new_cases_are_favoured_for_a_third_of_the_training() -> None:
    config = replace(CONFIG, epochs=3, steps_per_epoch=3)
    assert [config.favours_new_cases(step) for step in range(9)] == [True] * 3 + [False] * 6


def test_marked_cases_change_the_training(tmp_path: Path) -> None:
    cases = [planted_case(1), planted_case(2)]
    marked = [cases[0], replace(cases[1], is_new=True)]
    make_trainer(tmp_path, "fresh", None, cases).run_epoch(lambda _: None, lambda: False)
    with pytest.raises(ValueError, match="another configuration or other cases"):
        make_trainer(tmp_path, "fresh", None, marked).resume()
