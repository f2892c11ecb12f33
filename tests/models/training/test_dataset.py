from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from models.inputs import ContentBox, find_content, network_input, position_planes, take_slab
from models.training.augmentation import (
    NO_AUGMENTATION,
    AugmentationConfig,
    disturb_attenuation,
    draw_calcium,
    draw_grid,
    draw_metal,
)
from models.training.dataset import (
    Item,
    SliceKind,
    SliceSampler,
    TrainingCase,
    make_batch,
    telling_items,
)
from tests.models.cases import SIDE, THRESHOLD_HU, planted_case, tiny_network

SIZE = (SIDE, SIDE)


def bare_case(hu: np.ndarray, region: np.ndarray, lesion: np.ndarray | None) -> TrainingCase:
    return TrainingCase(hu, region, lesion, (3.0, 1.0, 1.0), THRESHOLD_HU, "bare")


def four_kinds() -> TrainingCase:
    """Calcium, a candidate near a region, a region alone, and bone far away."""
    hu = np.zeros((4, 32, 32), np.int16)
    region, lesion = np.zeros(hu.shape, np.uint8), np.zeros(hu.shape, np.uint8)
    region[:3, 4:8, 4:8] = 1
    hu[0, 5, 5] = hu[1, 5, 10] = hu[2, 5, 30] = hu[3, 5, 5] = THRESHOLD_HU
    lesion[0, 5, 5] = 1
    return bare_case(hu, region, lesion)


def test_slices_are_sorted_by_what_they_teach() -> None:
    kinds = [SliceKind.CALCIUM, SliceKind.DISTRACTOR, SliceKind.REGION, SliceKind.EMPTY]
    assert four_kinds().slice_kinds.tolist() == kinds
    assert [item.index for item in telling_items([four_kinds()])] == [0, 1, 2]


def test_calcium_below_the_threshold_is_no_calcium() -> None:
    case = four_kinds()
    case.hu[0, 5, 5] = THRESHOLD_HU - 1
    assert case.slice_kinds[0] == SliceKind.REGION


def test_sampler_keeps_the_shares_of_the_kinds_there_are() -> None:
    sampler = SliceSampler([four_kinds()], (0.6, 0.2, 0.0, 0.2))
    drawn = [item.index for item in sampler.draw(2000, np.random.default_rng(0))]
    # Binomial with n = 2000: three standard deviations are at most 0.033.
    shares = np.bincount(drawn, minlength=4) / 2000
    assert shares == pytest.approx([0.6, 0.2, 0.0, 0.2], abs=0.033)


def test_sampler_needs_a_slice_to_sample() -> None:
    with pytest.raises(ValueError, match="no case has a slice"):
        SliceSampler([], (1.0, 0.0, 0.0, 0.0))


def test_labels_must_fit_the_volume() -> None:
    hu = np.zeros((2, 4, 4), np.int16)
    with pytest.raises(ValueError, match="region of bare must have shape"):
        bare_case(hu, np.zeros((2, 4, 5), np.uint8), None)


def test_unchanged_batch_holds_the_labels_of_its_slices() -> None:
    case = planted_case(0)
    batch = make_batch([Item(case, 2), Item(case, 5)], SIZE, tiny_network())
    assert case.region is not None
    assert case.lesion is not None
    np.testing.assert_array_equal(batch.targets["region"][0], case.region[2])
    np.testing.assert_array_equal(batch.targets["lesion"][0], case.lesion[2])
    np.testing.assert_array_equal(batch.weights["lesion"][1], case.hu[5] >= THRESHOLD_HU)
    assert bool(batch.weights["region"].all())


def test_missing_task_has_no_weight() -> None:
    case = planted_case(0, with_region=False)
    batch = make_batch([Item(case, 2)], SIZE, tiny_network())
    assert not bool(batch.weights["region"].any())
    assert bool(batch.weights["lesion"].any())


def test_small_content_is_padded_with_air() -> None:
    batch = make_batch([Item(planted_case(0), 2)], (64, 64), tiny_network())
    # Air is -1024 HU, below both windows.
    assert not bool(batch.inputs[0, :2, SIDE:].any())
    assert not bool(batch.inputs[0, -1, SIDE:].any())
    assert not bool(batch.targets["region"][0, :, SIDE:].any())


def test_equal_generators_give_equal_batches() -> None:
    case = planted_case(0)
    first, second, other = (
        make_batch(
            [Item(case, 2)], SIZE, tiny_network(), AugmentationConfig(), np.random.default_rng(seed)
        )
        for seed in (1, 1, 2)
    )
    assert bool((first.inputs == second.inputs).all())
    assert not bool((first.inputs == other.inputs).all())


def test_voxels_lifted_over_the_threshold_by_noise_do_not_count() -> None:
    hu = np.full((1, 32, 32), THRESHOLD_HU - 1, np.int16)
    case = bare_case(hu, np.ones(hu.shape, np.uint8), np.zeros(hu.shape, np.uint8))
    noisy = replace(NO_AUGMENTATION, noise_hu=50.0)
    batch = make_batch([Item(case, 0)], (32, 32), tiny_network(), noisy, np.random.default_rng(0))
    assert bool(batch.inputs[0, -1].any())
    assert not bool(batch.weights["lesion"].any())


def test_no_augmentation_leaves_the_grid() -> None:
    rows, columns = draw_grid((6, 8), NO_AUGMENTATION, np.random.default_rng(0))
    np.testing.assert_array_equal(rows, np.arange(6)[:, None].repeat(8, 1))
    np.testing.assert_array_equal(columns, np.arange(8)[None, :].repeat(6, 0))


@pytest.mark.parametrize("seed", range(20))
def test_augmentation_never_flips(seed: int) -> None:
    rows, columns = draw_grid((64, 64), AugmentationConfig(), np.random.default_rng(seed))
    # Rows grow downwards and columns to the right, whatever the turn.
    assert rows[-1].mean() - rows[0].mean() > 45
    assert columns[:, -1].mean() - columns[:, 0].mean() > 45


def test_bend_is_the_linear_interpolation_of_its_knots() -> None:
    size, config = (40, 24), replace(NO_AUGMENTATION, bend=0.2)
    rows, columns = draw_grid(size, config, np.random.default_rng(7))
    rng = np.random.default_rng(7)
    rng.random(4)  # angle, scale and shift, which are drawn first
    knots = rng.uniform(-0.2, 0.2, (2, 4, 4))
    bend = [
        ndimage.zoom(plane, (10, 6), order=1, mode="nearest", grid_mode=True) for plane in knots
    ]
    np.testing.assert_array_equal(rows, np.rint(np.arange(40)[:, None] + 40 * bend[0]))
    np.testing.assert_array_equal(columns, np.rint(np.arange(24)[None, :] + 24 * bend[1]))


def test_attenuation_is_disturbed_within_bounds() -> None:
    config = replace(NO_AUGMENTATION, hu_shift=8.0)
    changed = disturb_attenuation(np.zeros((1, 9, 9), np.float32), config, np.random.default_rng(3))
    assert np.ptp(changed) == 0.0
    assert 0.0 < abs(float(changed[0, 0, 0])) <= 8.0


def test_content_is_what_is_more_than_air() -> None:
    hu = np.full((5, 9, 9), -1024, np.int16)
    hu[1:4, 2:7, 3] = -900
    assert find_content(hu) == ContentBox((1, 4), (2, 7), (3, 4))


def test_air_alone_is_its_own_content() -> None:
    assert find_content(np.full((2, 3, 4), -1000, np.int16)).shape == (2, 3, 4)


def test_slab_repeats_the_end_slices() -> None:
    hu = np.arange(3, dtype=np.int16)[:, None, None]
    assert take_slab(hu, 0, 1).ravel().tolist() == [0, 0, 1]
    assert take_slab(hu, 2, 1).ravel().tolist() == [1, 2, 2]


def test_input_channels_by_hand() -> None:
    config = replace(
        tiny_network(), has_position=False, hu_windows=((-1000.0, 1000.0), (-200.0, 300.0))
    )
    slabs = np.array([[[[-1024, 50, 3071]]]], np.int16)
    inputs = network_input(slabs, slabs[:, 0] >= 130, config)
    # (50 + 1000) / 2000 = 0.525; (50 + 200) / 500 = 0.5; the ends are clipped to 0 and 1.6.
    expected = [[0.0, 0.525, 1.6], [0.0, 0.5, 1.6], [0.0, 0.0, 1.0]]
    np.testing.assert_allclose(inputs[0, :, 0], expected, rtol=1e-6)


@pytest.mark.parametrize("seed", range(10))
def test_patches_hold_the_calcium_of_their_slice(seed: int) -> None:
    hu = np.zeros((1, 64, 40), np.int16)
    lesion = np.zeros(hu.shape, np.uint8)
    hu[0, 60, 20], lesion[0, 60, 20] = THRESHOLD_HU, 1
    case = bare_case(hu, lesion.copy(), lesion)
    rng = np.random.default_rng(seed)
    batch = make_batch([Item(case, 0)], (16, 16), tiny_network(), NO_AUGMENTATION, rng)
    assert int(batch.targets["lesion"].sum()) == 1


def test_rare_kinds_are_not_learned_by_heart() -> None:
    hu = np.zeros((100, 8, 8), np.int16)
    lesion = np.zeros(hu.shape, np.uint8)
    hu[0, 4, 4], lesion[0, 4, 4] = THRESHOLD_HU, 1
    case = bare_case(hu, np.ones(hu.shape, np.uint8), lesion)
    drawn = SliceSampler([case], (0.5, 0.0, 0.5, 0.0)).draw(4000, np.random.default_rng(0))
    # One slice of a hundred gets five hundredths, the others a half: 0.05 / 0.55 = 0.091.
    assert sum(item.index == 0 for item in drawn) / 4000 == pytest.approx(0.091, abs=0.015)


def test_metal_comes_as_often_as_asked_for() -> None:
    rng = np.random.default_rng(0)
    config = replace(NO_AUGMENTATION, metal_chance=0.3)
    drawn = sum(draw_metal((16, 16), config, rng) is not None for _ in range(1000))
    # Binomial: the standard deviation is 0.0145.
    assert drawn / 1000 == pytest.approx(0.3, abs=0.045)


def test_metal_is_bright_with_streaks_both_ways() -> None:
    metal = draw_metal(
        (64, 64), replace(NO_AUGMENTATION, metal_chance=1.0), np.random.default_rng(1)
    )
    assert metal is not None
    assert metal.max() == 3000.0
    streaks = metal[metal < 3000.0]
    assert streaks.max() > 50.0
    assert streaks.min() < -50.0


def test_metal_and_its_streaks_are_known_not_to_be_calcium() -> None:
    hu = np.full((1, 64, 64), THRESHOLD_HU - 30, np.int16)
    case = bare_case(hu, np.ones(hu.shape, np.uint8), np.ones(hu.shape, np.uint8))
    metal = replace(NO_AUGMENTATION, metal_chance=1.0)
    batch = make_batch([Item(case, 0)], (64, 64), tiny_network(), metal, np.random.default_rng(1))
    counted = batch.weights["lesion"][0] > 0
    is_candidate = batch.inputs[0, -1] > 0
    assert bool((counted == is_candidate).all())
    # The second window ends at 300 HU, so metal alone is clipped at 1.6 there.
    is_metal = batch.inputs[0, 0] > 1.5
    assert bool(is_metal.any())
    assert not bool(batch.targets["lesion"][0][is_metal].any())


def square_region() -> np.ndarray:
    region = np.zeros((40, 40), np.bool_)
    region[15:25, 15:25] = True
    return region


@pytest.mark.parametrize("seed", range(20))
def test_plaques_are_planted_in_a_region_and_other_calcium_clear_of_it(seed: int) -> None:
    tissue, region = np.zeros((40, 40), np.float32), square_region()
    config = replace(NO_AUGMENTATION, plaque_chance=0.5, distractor_chance=0.5)
    planted = draw_calcium(region, tissue, (1.0, 2.0), config, np.random.default_rng(seed))
    assert planted is not None
    places = np.argwhere(planted.hu > 0)
    # Distance to the square in millimetres along the farther axis.
    beyond = np.maximum(np.maximum(15 - places, places - 24), 0) * [1.0, 2.0]
    if planted.is_plaque:
        assert beyond.max() <= 1.6
    else:
        brightest = np.unravel_index(planted.hu.argmax(), planted.hu.shape)
        assert not region[brightest]


def test_calcium_is_never_planted_into_air() -> None:
    air = np.full((40, 40), -1000.0, np.float32)
    config = replace(NO_AUGMENTATION, distractor_chance=1.0)
    assert draw_calcium(square_region(), air, (1.0, 1.0), config, np.random.default_rng(0)) is None


@pytest.mark.parametrize(("chance", "expected"), [("plaque_chance", 1), ("distractor_chance", 0)])
def test_planted_calcium_has_its_label(chance: str, expected: int) -> None:
    case = four_kinds()
    bare = make_batch([Item(case, 2)], (32, 32), tiny_network())
    config = replace(NO_AUGMENTATION, **{chance: 1.0})
    rng = np.random.default_rng(3)
    batch = make_batch([Item(case, 2)], (32, 32), tiny_network(), config, rng)
    is_new = (batch.weights["lesion"] > 0) & (bare.weights["lesion"] == 0)
    assert is_new.any()
    assert (batch.targets["lesion"][is_new] == expected).all()


def test_no_calcium_is_planted_where_regions_are_not_known() -> None:
    case = planted_case(0, with_region=False)
    config = replace(NO_AUGMENTATION, plaque_chance=0.5, distractor_chance=0.5)
    planted, bare = (
        make_batch([Item(case, 2)], SIZE, tiny_network(), changes, np.random.default_rng(0))
        for changes in (config, NO_AUGMENTATION)
    )
    np.testing.assert_array_equal(planted.inputs, bare.inputs)


def test_position_by_hand() -> None:
    content = ContentBox((2, 7), (10, 21), (30, 33))
    planes = position_planes(3, (5, 0), (2, 4), content)
    # Slice 3 is the second of five: -0.5. Rows 5 and 6 of eleven: 0 and 0.2. Columns 0, 1
    # and 2 of three: -1, 0, 1; the fourth lies outside.
    assert planes[0].tolist() == [[-0.5] * 4] * 2
    np.testing.assert_allclose(planes[1], [[0.0] * 4, [0.2] * 4], atol=1e-7)
    np.testing.assert_allclose(planes[2], [[-1.0, 0.0, 1.0, 2.0]] * 2)


def test_network_that_reads_positions_needs_them() -> None:
    slabs = np.zeros((1, 1, 8, 8), np.int16)
    with pytest.raises(ValueError, match="reads the position"):
        network_input(slabs, slabs[:, 0] >= 130, replace(tiny_network(), has_position=True))
