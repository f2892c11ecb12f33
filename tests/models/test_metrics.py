import numpy as np
import pytest
import torch
from monai.metrics.meandice import compute_dice

from models.metrics import Counts, count_classes, count_voxels, mean_dice


def test_counts_by_hand() -> None:
    counts = count_voxels([1, 1, 0, 0, 1], [1, 0, 1, 0, 1])
    assert counts == Counts(true_positive=2, false_positive=1, false_negative=1)
    assert counts.dice == pytest.approx(2 * 2 / (2 * 2 + 1 + 1))


def test_dice_of_nothing_is_undefined() -> None:
    assert Counts().dice is None
    assert mean_dice([Counts(), Counts(1, 0, 0)]) == 1.0
    assert mean_dice([Counts()]) is None


def test_counts_of_volumes_add_up() -> None:
    assert Counts(1, 2, 3) + Counts(4, 5, 6) == Counts(5, 7, 9)


@pytest.mark.filterwarnings("ignore")
def test_dice_agrees_with_monai() -> None:
    rng = np.random.default_rng(2)
    prediction, truth = rng.integers(0, 4, (2, 6, 7, 8))
    one_hot = [
        torch.nn.functional.one_hot(torch.from_numpy(labels), 4).permute(3, 0, 1, 2)[None]
        for labels in (prediction, truth)
    ]
    expected = compute_dice(one_hot[0], one_hot[1], include_background=False)[0].tolist()
    ours = [counts.dice for counts in count_classes(prediction, truth, 4)]
    assert ours == pytest.approx(expected)
