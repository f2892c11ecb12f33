import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import Conv2d

from models.checkpoint import Checkpoint, save
from models.dropout import seeded_masks
from models.network import MultiTaskNetwork
from models.predictor import NetworkPrediction, Predictor
from models.training.dataset import Item, make_batch
from models.uncertainty import BinaryStatistics
from tests.models.cases import SPACING_MM, THRESHOLD_HU, planted_case, planted_volume, tiny_network
from tests.models.test_network import lively_network


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return make_predictor(tmp_path_factory.mktemp("predictor"), lively_network(tiny_network()))


def make_predictor(folder: Path, network: MultiTaskNetwork) -> Predictor:
    path = folder / "version.safetensors"
    save(path, Checkpoint(network.config, network.state_dict()))
    return Predictor(path)


def predict(
    predictor: Predictor, hu: np.ndarray, samples: int = 6, seed: int = 0
) -> NetworkPrediction:
    return predictor.predict(
        hu, spacing_mm=SPACING_MM, threshold_hu=THRESHOLD_HU, samples=samples, seed=seed
    )


def volume() -> np.ndarray:
    return planted_volume(4)[0]


def test_shapes_and_types(predictor: Predictor) -> None:
    hu = volume()
    result = predict(predictor, hu)
    count = result.candidate_index.size
    assert count > 10
    assert result.region.shape == result.lesion.shape == hu.shape
    assert result.artery_samples.shape == (6, count)
    assert result.mutual_information.shape == result.entropy.shape == (count,)
    assert result.embedding.shape == (16,)
    assert result.candidate_index.dtype == np.int64
    assert result.artery_samples.dtype == np.uint8


def test_lesions_are_candidates_with_an_artery(predictor: Predictor) -> None:
    hu = volume()
    result = predict(predictor, hu)
    assert result.lesion.any()
    assert (hu[result.lesion] >= THRESHOLD_HU).all()
    assert (result.region[result.lesion] > 0).all()
    assert np.isin(np.flatnonzero(result.lesion), result.candidate_index).all()


def test_candidates_are_listed_once_in_order(predictor: Predictor) -> None:
    hu = volume()
    index = predict(predictor, hu).candidate_index
    assert (np.diff(index) > 0).all()
    assert (hu.ravel()[index] >= THRESHOLD_HU).all()


def test_samples_of_one_head_keep_the_other_one_whole(predictor: Predictor) -> None:
    hu = volume()
    result = predict(predictor, hu, samples=6, seed=3)
    network = lively_network(tiny_network())
    drawn = seeded_masks(network.config.sampled_sites(), 6, 3)
    inputs = make_batch(
        [Item(planted_case(4), index) for index in range(hu.shape[0])], hu.shape[1:], network.config
    ).inputs
    for head, samples in result.samples_by_head.items():
        # Half of the six masks are used for each head.
        assert samples.shape[0] == 3
        for number in range(3):
            mask = {
                name: values[number : number + 1]
                for name, values in drawn.items()
                if name.startswith(head)
            }
            with torch.inference_mode():
                logits = network(inputs, mask)
            lesion = logits["lesion"].softmax(dim=1)[:, 1] >= 0.5
            artery = logits["region"][:, 1:].argmax(dim=1) + 1
            naive = torch.where(lesion, artery, 0).numpy().ravel()[result.candidate_index]
            np.testing.assert_array_equal(samples[number], naive)


def test_only_the_bone_that_the_deterministic_pass_doubts_is_sampled(tmp_path: Path) -> None:
    hu = np.full((4, 48, 48), 40, np.int16)
    # 4 x 14 x 14 voxels of 3 x 2 x 2 mm have 9408 mm³; no coronary lesion is that large.
    hu[:, 4:18, 4:18] = 500
    hu[1, 30:33, 30:33] = 400
    network = lively_network(tiny_network())
    output = [module for module in network.heads["lesion"].modules() if isinstance(module, Conv2d)]
    # Ten times as sure of everything, so that some of the bone is certain and some is not.
    output[-1].weight.data *= 10.0
    predictor = make_predictor(tmp_path, network)
    plain, result = predict(predictor, hu, samples=0), predict(predictor, hu)
    is_bone = hu.ravel()[result.candidate_index] == 500
    is_sure = plain.entropy < -0.01 * math.log(0.01) - 0.99 * math.log(0.99)
    settled = np.where(result.lesion.ravel()[result.candidate_index], result.artery, 0)
    assert 10 < (is_bone & is_sure).sum() < is_bone.sum() - 10
    assert (result.artery_samples == settled)[:, is_bone & is_sure].all()
    assert not result.mutual_information[is_bone & is_sure].any()
    assert result.mutual_information[is_bone & ~is_sure].all()
    assert result.mutual_information[~is_bone].any()


def test_samples_equal_naive_full_passes(predictor: Predictor) -> None:
    hu = volume()
    result = predict(predictor, hu, samples=5, seed=3)
    network = lively_network(tiny_network())
    masks = seeded_masks(network.config.sampled_sites(), 5, 3)
    inputs = make_batch(
        [Item(planted_case(4), index) for index in range(hu.shape[0])], hu.shape[1:], network.config
    ).inputs
    for sample in range(5):
        mask = {name: values[sample : sample + 1] for name, values in masks.items()}
        with torch.inference_mode():
            logits = network(inputs, mask)
        lesion = logits["lesion"].softmax(dim=1)[:, 1] >= 0.5
        artery = logits["region"][:, 1:].argmax(dim=1) + 1
        naive = torch.where(lesion, artery, 0).numpy().ravel()[result.candidate_index]
        np.testing.assert_array_equal(result.artery_samples[sample], naive)


def test_mutual_information_equals_that_of_naive_passes(predictor: Predictor) -> None:
    hu = volume()
    result = predict(predictor, hu, samples=4, seed=3)
    network = lively_network(tiny_network())
    masks = seeded_masks(network.config.sampled_sites(), 4, 3)
    items = [Item(planted_case(4), index) for index in range(hu.shape[0])]
    inputs = make_batch(items, hu.shape[1:], network.config).inputs
    with torch.inference_mode():
        probs = torch.stack(
            [
                network(inputs, {name: mask[t : t + 1] for name, mask in masks.items()})["lesion"]
                .softmax(dim=1)[:, 1]
                .ravel()[result.candidate_index]
                for t in range(4)
            ]
        ).double()
    mean = probs.mean(dim=0)
    both = torch.stack([mean, 1 - mean]), torch.stack([probs, 1 - probs])
    entropy = -(both[0] * both[0].log()).sum(dim=0)
    expected = -(both[1] * both[1].log()).sum(dim=0).mean(dim=0)
    gain = (entropy - expected) * 4 / 3
    np.testing.assert_allclose(result.entropy, entropy, atol=1e-5)
    np.testing.assert_allclose(result.mutual_information, gain.clamp(min=0), atol=1e-5)


def test_information_stays_within_its_bounds(predictor: Predictor) -> None:
    result = predict(predictor, volume(), samples=8)
    assert (result.mutual_information >= 0.0).all()
    assert (result.mutual_information <= result.entropy + 1e-6).all()
    assert (result.entropy <= math.log(2.0) + 1e-6).all()
    assert 0.0 <= result.region_entropy <= math.log(5.0)
    assert result.mutual_information.max() > 0.0


def test_prediction_changes_nothing_in_the_network(predictor: Predictor) -> None:
    before = {name: tensor.clone() for name, tensor in predictor._network.state_dict().items()}
    predict(predictor, volume())
    after = predictor._network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not any(module.training for module in predictor._network.modules())


def test_same_seed_same_samples(predictor: Predictor) -> None:
    first, again, other = (predict(predictor, volume(), seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.mutual_information, again.mutual_information)
    np.testing.assert_array_equal(first.artery_samples, again.artery_samples)
    assert (first.mutual_information != other.mutual_information).any()


def test_padding_with_air_changes_no_candidate(predictor: Predictor) -> None:
    hu = volume()
    padded = np.pad(hu, ((2, 1), (5, 11), (7, 3)), constant_values=-1024)
    plain, wide = predict(predictor, hu), predict(predictor, padded)
    z, y, x = np.unravel_index(plain.candidate_index, hu.shape)
    moved = np.ravel_multi_index((z + 2, y + 5, x + 7), padded.shape)
    np.testing.assert_array_equal(wide.candidate_index, moved)
    np.testing.assert_array_equal(wide.artery_samples, plain.artery_samples)
    np.testing.assert_allclose(wide.mutual_information, plain.mutual_information, atol=1e-6)
    np.testing.assert_allclose(wide.embedding, plain.embedding, atol=1e-6)
    assert wide.region_entropy == pytest.approx(plain.region_entropy, abs=1e-6)


def test_volume_of_air_has_no_candidate(predictor: Predictor) -> None:
    result = predict(predictor, np.full((3, 40, 40), -1024, np.int16))
    assert result.candidate_index.size == 0
    assert result.artery_samples.shape == (6, 0)
    assert not result.lesion.any()
    assert np.isfinite(result.embedding).all()


def test_without_dropout_samples_agree(tmp_path: Path) -> None:
    config = replace(tiny_network(), bottleneck_dropout=0.0, stage_dropout=0.0)
    network = lively_network(config)
    result = predict(make_predictor(tmp_path, network), volume())
    assert result.artery_samples.any()
    assert (result.artery_samples == result.artery_samples[0]).all()
    np.testing.assert_allclose(result.mutual_information, 0.0, atol=1e-6)


@pytest.mark.parametrize("samples", [0, 1])
def test_fewer_than_two_samples_cannot_disagree(predictor: Predictor, samples: int) -> None:
    result = predict(predictor, volume(), samples=samples)
    assert result.artery_samples.shape[0] == samples
    assert not result.mutual_information.any()
    assert result.entropy.max() > 0.0


def test_progress_ends_at_one(predictor: Predictor) -> None:
    seen: list[float] = []
    predictor.predict(
        volume(),
        spacing_mm=SPACING_MM,
        threshold_hu=THRESHOLD_HU,
        samples=0,
        seed=0,
        on_progress=seen.append,
    )
    assert seen[-1] == 1.0


@pytest.mark.parametrize(("shape", "samples"), [((4, 4), 1), ((0, 4, 4), 1), ((1, 4, 4), -1)])
def test_impossible_requests_are_refused(
    predictor: Predictor, shape: tuple[int, ...], samples: int
) -> None:
    with pytest.raises(ValueError, match="expected a volume"):
        predict(predictor, np.zeros(shape, np.int16), samples=samples)


def test_order_of_samples_does_not_matter() -> None:
    probs = torch.rand(7, 50, generator=torch.Generator().manual_seed(0))
    forward, backward = BinaryStatistics(50), BinaryStatistics(50)
    forward.add(probs)
    for row in probs.flip(0):
        backward.add(row[None])
    np.testing.assert_allclose(
        forward.mutual_information(), backward.mutual_information(), atol=1e-7
    )


def test_opposite_samples_disagree_fully() -> None:
    statistics = BinaryStatistics(1)
    statistics.add(torch.tensor([[0.0], [1.0]]))
    # The entropy of the mean is log 2; twice that by the correction, held at the entropy.
    assert statistics.mutual_information() == pytest.approx(math.log(2.0))


def test_identical_samples_agree_however_unsure() -> None:
    statistics = BinaryStatistics(2)
    statistics.add(torch.tensor([[0.5, 1.0]] * 5))
    assert statistics.mutual_information().tolist() == [0.0, 0.0]
    assert statistics.entropy() == pytest.approx([math.log(2.0), 0.0])


def test_mutual_information_by_hand() -> None:
    statistics = BinaryStatistics(1)
    statistics.add(torch.tensor([[0.2], [0.4]]))
    # Entropies: H(0.3) = 0.610864, H(0.2) = 0.500402, H(0.4) = 0.673012; twice the difference.
    assert float(statistics.mutual_information()[0]) == pytest.approx(
        2 * (0.610864 - 0.586707), abs=1e-5
    )


def test_network_without_a_lesion_head_is_refused(tmp_path: Path) -> None:
    alone = replace(tiny_network(), tasks=(tiny_network().task("region"),))
    with pytest.raises(ValueError, match="no task 'lesion'"):
        make_predictor(tmp_path, MultiTaskNetwork(alone))


def test_reach_is_in_millimetres_along_each_axis(tmp_path: Path) -> None:
    network, hu = lively_network(tiny_network()), volume()
    with torch.no_grad():
        # Few regions and lesions, so that candidates lie out of their reach.
        network.get_parameter("heads.region.output.1.bias")[0] += 1.0
        network.get_parameter("heads.lesion.output.1.bias")[0] += 1.0
    result = make_predictor(tmp_path, network).predict(
        hu, spacing_mm=(3.0, 2.0, 8.0), threshold_hu=THRESHOLD_HU, samples=0, seed=0
    )
    # 8 mm are 4 rows of 2 mm and 1 column of 8 mm.
    padded = np.pad(result.region > 0, ((0, 0), (4, 4), (1, 1)))
    near = np.lib.stride_tricks.sliding_window_view(padded, (9, 3), axis=(1, 2)).any(axis=(3, 4))
    expected = np.flatnonzero((hu >= THRESHOLD_HU) & near)
    assert 0 < expected.size < np.count_nonzero(hu >= THRESHOLD_HU)
    np.testing.assert_array_equal(result.candidate_index, expected)
