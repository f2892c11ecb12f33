"""What must not move the uncertainty of an image, from the voxels to the numbers ranked by."""

import itertools
from dataclasses import astuple, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from app.arrays import AxialImage
from app.prediction.prediction import Prediction, predict
from app.settings import Settings
from models.checkpoint import Checkpoint, save
from models.network import MultiTaskNetwork, NetworkConfig
from models.predictor import Predictor
from strategies.uncertainty import VarianceShares
from tests.factories import make_grid
from tests.models.cases import SPACING_MM, planted_volume, tiny_network
from tests.models.test_network import lively_network

LIVELY = replace(tiny_network(), stage_dropout=0.5)

UNFED = replace(LIVELY, tasks=(LIVELY.tasks[0], replace(LIVELY.tasks[1], fed_by=())))
"""The lesion head does not hear of the regions."""


def make_predictor(folder: Path, config: NetworkConfig = LIVELY) -> Predictor:
    path = folder / "version.safetensors"
    save(path, Checkpoint(config, lively_network(config).state_dict()))
    return Predictor(path)


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return make_predictor(tmp_path_factory.mktemp("weights"))


def told(
    predictor: Predictor,
    hu: NDArray[np.int16],
    seed: int = 0,
    *,
    spacing_mm: tuple[float, float, float] = SPACING_MM,
) -> Prediction:
    depth, height, width = hu.shape
    grid = make_grid((depth, height, width), spacing_mm=spacing_mm)
    return predict(predictor, AxialImage(hu, grid, grid, 120.0), Settings(samples=8, seed=seed))


def numbers(prediction: Prediction) -> list[float]:
    *measures, by_artery = astuple(prediction.uncertainty)
    assert prediction.shares is not None
    return [
        prediction.clinical_uncertainty,
        prediction.category_entropy,
        prediction.region_uncertainty,
        *measures,
        *by_artery,
        *astuple(prediction.shares),
    ]


def test_air_around_the_patient_moves_no_measure(predictor: Predictor) -> None:
    hu = planted_volume(4)[0]
    padded = np.pad(hu, ((1, 2), (9, 4), (3, 14)), constant_values=-1024)
    plain = numbers(told(predictor, hu))
    assert numbers(told(predictor, padded)) == pytest.approx(plain, abs=1e-6)
    # Voxels are in doubt here; two measures that are 0 would be equal in any case.
    assert sum(value > 0 for value in plain) >= 8


def test_cropping_air_away_moves_no_measure(predictor: Predictor) -> None:
    hu = np.pad(planted_volume(5)[0], ((0, 0), (8, 8), (8, 8)), constant_values=-1024)
    cropped = hu[:, 6:-3, 2:-7]
    plain = numbers(told(predictor, hu))
    assert numbers(told(predictor, cropped)) == pytest.approx(plain, abs=1e-6)


def test_a_volume_of_air_is_certain_of_everything_but_its_regions(predictor: Predictor) -> None:
    prediction = told(predictor, np.full((3, 40, 40), -1024, np.int16))
    values = numbers(prediction)
    assert not prediction.has_candidates
    assert np.isfinite(values).all()
    # The third is about regions; every other one is about candidates, of which there are none.
    assert not any(values[:2] + values[3:])


def test_without_dropout_nothing_is_in_doubt_between_samples(tmp_path: Path) -> None:
    config = replace(tiny_network(), stage_dropout=0.0, bottleneck_dropout=0.0)
    prediction = told(make_predictor(tmp_path, config), planted_volume(4)[0])
    measures = prediction.uncertainty
    assert prediction.has_candidates
    assert (measures.pairwise_dice, prediction.clinical_uncertainty) == (0.0, 0.0)
    assert measures.foreground == pytest.approx(0.0, abs=1e-6)
    assert measures.top == pytest.approx(0.0, abs=1e-6)
    assert measures.entropy > 0.0


def test_a_seed_decides_every_measure(predictor: Predictor) -> None:
    hu = planted_volume(4)[0]
    first, again, other = (numbers(told(predictor, hu, seed)) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_all_doubt_is_the_lesion_heads_where_the_regions_are_fixed(tmp_path: Path) -> None:
    path = tmp_path / "version.safetensors"
    save(path, Checkpoint(UNFED, fixed_regions(UNFED).state_dict()))
    prediction = told(Predictor(path), planted_volume(4)[0])
    assert prediction.clinical_uncertainty > 0.0
    # The lesion head alone repeats the first half of the samples, so nothing is left over.
    assert prediction.shares == VarianceShares(1.0, 0.0)


@pytest.mark.parametrize(("side", "is_at_stake"), [(1, False), (2, True)])
def test_only_plaques_of_a_square_millimetre_have_a_score_at_stake(
    side: int, is_at_stake: bool, tmp_path: Path
) -> None:
    path = tmp_path / "version.safetensors"
    save(path, Checkpoint(UNFED, fixed_regions(UNFED).state_dict()))
    hu = np.full((3, 40, 40), 40, np.int16)
    for row, column in itertools.product(range(8, 40, 8), repeat=2):
        hu[1, row : row + side, column : column + side] = 300
    # Pixels of 0.25 mm2. With the axes the other way round one of them had 1.5 mm2.
    prediction = told(Predictor(path), hu, spacing_mm=(3.0, 0.5, 0.5))
    assert prediction.uncertainty.pairwise_dice > 0.0
    assert (prediction.uncertainty.lesion > 0.0) == is_at_stake
    assert prediction.agatston_samples.any() == is_at_stake


def fixed_regions(config: NetworkConfig) -> MultiTaskNetwork:
    """Return a network that sees the first artery everywhere, whatever is dropped."""
    network = lively_network(config)
    with torch.no_grad():
        network.get_parameter("heads.region.output.1.weight").zero_()
        network.get_parameter("heads.region.output.1.bias")[1] += 10.0
        # Brings the lesions' log odds to about zero, where samples disagree.
        network.get_parameter("heads.lesion.output.1.bias")[1] += 1.5
    return network
