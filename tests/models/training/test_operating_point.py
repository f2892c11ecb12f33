from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models import checkpoint
from models.checkpoint import Checkpoint
from models.network import MultiTaskNetwork, NetworkConfig
from models.operating_point import move_decision
from models.predictor import Predictor
from models.training.dataset import TrainingCase
from models.training.operating_point import choose_margin, margin_steps
from models.training.trainer import Trainer
from models.training.trainer_config import TrainerConfig
from models.training.validation import StoppedValidationError
from tests.models.cases import SPACING_MM, THRESHOLD_HU, planted_case, tiny_network

CANDIDATE_HU = 300
_COPIES = 20


class KnownOdds(MultiTaskNetwork):
    """Gives the columns of an image log odds of being a lesion by their number."""

    def __init__(self, config: NetworkConfig, odds_by_column: dict[int, float]) -> None:
        super().__init__(config)
        self.odds = odds_by_column

    def forward(self, inputs: Tensor, masks: object = None) -> dict[str, Tensor]:
        logits = torch.zeros(inputs.shape[0], 2, *inputs.shape[2:])
        for column, odds in self.odds.items():
            logits[:, 1, :, column] = odds
        return {"lesion": logits}


def case(
    calcium_columns: list[int],
    other_columns: list[int],
    voxels: int = 4,
    spacing_mm: tuple[float, float, float] = (2.5, 1.0, 1.0),
) -> TrainingCase:
    """Put candidates into columns of a slice; only those of some columns are calcium."""
    hu = np.zeros((1, 16, 16), np.int16)
    lesion = np.zeros(hu.shape, np.uint8)
    hu[0, :voxels, calcium_columns + other_columns] = CANDIDATE_HU
    lesion[0, :voxels, calcium_columns] = 1
    return TrainingCase(hu, None, lesion, spacing_mm, THRESHOLD_HU, "case")


def choose(odds: dict[int, float], cases: list[TrainingCase]) -> float | None:
    return choose_margin(KnownOdds(tiny_network(), odds).eval(), cases, batch_size=4)


def best(odds: dict[int, float], cases: list[TrainingCase], *, expected: float) -> float:
    """Choose from many copies of the same patients and undo the pull of the expectation."""
    chosen = choose(odds, cases * _COPIES)
    assert chosen is not None
    count = len(cases) * _COPIES
    return (chosen * (count + 10) - 10 * expected) / count


def test_margin_lies_between_false_and_true_lesions() -> None:
    # Above 3.2 nothing false is left; the lowest such margin on the grid is 3.5.
    found = best({2: 6.0, 9: 3.2}, [case([2], [9]), case([], [9])], expected=1.8)
    assert found == pytest.approx(3.5)


def test_margin_stays_low_where_nothing_false_is_called() -> None:
    found = best({2: 6.0, 9: -3.0}, [case([2], [9]), case([], [9])], expected=1.8)
    assert found == pytest.approx(0.0)


def test_calcium_free_patients_count_as_much_as_others() -> None:
    # One small lesion is as sure as what is false in three patients without calcium.
    odds = {2: 6.0, 3: 2.0, 9: 2.0}
    patients = [case([2, 3], []), *[case([], [9])] * 3]
    assert best(odds, patients, expected=1.2) == pytest.approx(2.5, abs=0.2)


def test_large_plaque_is_not_given_up_for_one_wrong_voxel() -> None:
    odds = {2: 2.0, 9: 3.0}
    patients = [case([2], [], voxels=12), case([], [9], voxels=1)]
    assert best(odds, patients, expected=0.6) == pytest.approx(0.0, abs=0.1)


def test_calcium_counts_by_its_volume_and_not_by_its_voxels() -> None:
    # 2 voxels of 6 mm3 that are calcium against 40 of 0.125 mm3 that are not: at 0 the volume F1
    # is 24 / 29 and the Dice 1 and 10 / 15, above 3 it is 0, and the Dice 10 / 22 and 1. By voxels
    # it would be the other way round.
    odds = {2: 2.0} | dict.fromkeys(range(9, 13), 3.0)
    patients = [
        case([2], [], voxels=2, spacing_mm=(3.0, 1.0, 2.0)),
        case([], [9, 10, 11, 12], voxels=10, spacing_mm=(0.5, 0.5, 0.5)),
    ]
    assert best(odds, patients, expected=0.6) == pytest.approx(0.0, abs=0.1)


def test_missed_calcium_counts_even_where_it_is_called_none() -> None:
    # Without what is missed a margin above 1.2 would look free of errors.
    odds = {2: -1.0, 3: 1.0, 9: 1.2}
    assert best(odds, [case([2, 3], [9], voxels=12)], expected=0.0) == pytest.approx(0.0)


def test_few_patients_move_the_expectation_little() -> None:
    # Both patients ask for 8, the expectation of 0.3 * 9 counts ten times.
    chosen = choose({2: 9.0, 9: 7.9}, [case([2], [9]), case([], [9])])
    assert chosen == pytest.approx((2 * 8 + 10 * 2.7) / 12)


def test_unsure_network_is_asked_for_less() -> None:
    # Nothing is false; the expectation of 0.3 * 1 counts ten times against two zeros.
    chosen = choose({2: 1.0, 9: -1.0}, [case([2], [9]), case([], [9])])
    assert chosen == pytest.approx(10 * 0.3 / 12)


def test_calcium_that_is_missed_at_half_lowers_no_margin_below_half() -> None:
    assert choose({2: -4.0, 9: -5.0}, [case([2], [9])]) == 0.0


def test_no_margin_where_no_patient_has_calcium() -> None:
    assert choose({9: 5.0}, [case([], [9])]) is None


def test_same_patients_same_margin() -> None:
    odds, patients = {2: 6.0, 9: 3.2}, [case([2], [9]), case([2], []), case([], [9])]
    assert choose(odds, patients) == choose(odds, patients)


def test_no_margin_without_a_label_of_lesions() -> None:
    assert choose({}, [planted_case(1, with_lesion=False)]) is None


def test_trainer_puts_the_margin_on_the_card(tmp_path: Path) -> None:
    config = TrainerConfig(epochs=1, steps_per_epoch=1, batch_size=2)
    trainer = Trainer(tiny_network(), config, [planted_case(1)], [planted_case(2)], tmp_path)
    trainer.write_checkpoint(path := tmp_path / "w.safetensors", {})
    network = MultiTaskNetwork(tiny_network()).eval()
    network.load_state_dict(dict(trainer.weights))
    assert checkpoint.load(path).facts["lesion_margin"] == choose_margin(
        network, [planted_case(2)], 2
    )


def test_training_without_validation_asks_for_half(tmp_path: Path) -> None:
    config = TrainerConfig(epochs=1, steps_per_epoch=1, batch_size=2)
    trainer = Trainer(tiny_network(), config, [planted_case(1)], [], tmp_path)
    trainer.write_checkpoint(path := tmp_path / "w.safetensors", {})
    assert checkpoint.load(path).facts["lesion_margin"] == 0.0


def test_margin_is_chosen_a_patient_a_step() -> None:
    network, patients = KnownOdds(tiny_network(), {2: 6.0, 9: 3.2}).eval(), [case([2], [9])] * 4
    fractions = list(margin_steps(network, patients, 4, lambda: False))
    assert fractions == [0.25, 0.5, 0.75, 1.0]


def test_choice_of_a_margin_stops_between_two_batches() -> None:
    network = MultiTaskNetwork(tiny_network()).eval()
    # Six slices a patient, two at a time: the fifth batch is the second of the second patient.
    answers = iter([False] * 4 + [True])
    steps = margin_steps(network, [planted_case(1), planted_case(2)], 2, lambda: next(answers))
    assert next(steps) == 0.5
    with pytest.raises(StoppedValidationError):
        next(steps)


def test_margin_lowers_the_odds_of_every_candidate_alike() -> None:
    network = MultiTaskNetwork(tiny_network()).eval()
    inputs = torch.rand(1, tiny_network().in_channels, 16, 16)
    inputs[:, -1] = 1.0
    with torch.no_grad():
        before = network(inputs)["lesion"]
        move_decision(network, {"lesion_margin": 2.5})
        after = network(inputs)["lesion"]
    torch.testing.assert_close(after[:, 1], before[:, 1] - 2.5)
    torch.testing.assert_close(after[:, 0], before[:, 0])


@pytest.mark.parametrize("margin", ["high", None, float("nan")])
def test_margin_that_is_no_number_is_refused(margin: str | float | None) -> None:
    with pytest.raises(ValueError, match="must be a finite number"):
        move_decision(MultiTaskNetwork(tiny_network()), {"lesion_margin": margin})


def test_prediction_and_samples_follow_the_card(tmp_path: Path) -> None:
    network = MultiTaskNetwork(tiny_network())
    bias = network.get_parameter("heads.lesion.output.1.bias")
    nn.init.zeros_(network.get_parameter("heads.lesion.output.1.weight"))
    with torch.no_grad():
        bias.copy_(torch.tensor([0.0, 3.0]))
    for margin in (2.0, 4.0):
        facts = {"lesion_margin": margin}
        path = tmp_path / f"{margin}.safetensors"
        checkpoint.save(path, Checkpoint(tiny_network(), network.state_dict(), facts))
        found = Predictor(path).predict(
            planted_case(1).hu, spacing_mm=SPACING_MM, threshold_hu=THRESHOLD_HU, samples=2, seed=0
        )
        # Every candidate has log odds of 3.
        assert found.lesion.any() == (margin < 3.0)
        assert (found.artery_samples > 0).any() == (margin < 3.0)
