from dataclasses import replace

import numpy as np
import pytest

from app.calcium.labels import ARTERIES, CALCIUM_LABELS, LABELS, REGION_LABELS
from app.calcium.phantom import Phantom, PhantomConfig, make_phantom, phantom_patient
from app.calcium.phantom.metal import LEAD
from app.calcium.phantom.pool import score_phantom
from tests.app.calcium.phantom.conftest import SHAPE

SMALL = (12, 64, 64)


def calcium(phantom: Phantom) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    return (phantom.labels > 0) & (phantom.labels <= max(CALCIUM_LABELS.values()))


def test_the_same_seed_gives_the_same_phantom() -> None:
    first, second = (make_phantom(PhantomConfig(SMALL), seed=4) for _ in range(2))
    np.testing.assert_array_equal(first.volume.hu, second.volume.hu)
    np.testing.assert_array_equal(first.labels, second.labels)
    assert first.truth == second.truth
    assert first.facts == second.facts


def test_patients_of_a_pool_do_not_depend_on_each_other() -> None:
    size = SMALL[::-1]
    one, other, foreign = (
        phantom_patient(seed, index, size) for seed, index in ((4, 0), (4, 1), (5, 0))
    )
    assert one.volume.identifiers.patient_id == "phantom-4-0000"
    assert not np.array_equal(one.volume.hu, other.volume.hu)
    assert not np.array_equal(one.volume.hu, foreign.volume.hu)


def test_shapes_types_and_places_fit_the_contracts(severe: Phantom) -> None:
    assert severe.volume.hu.shape == severe.labels.shape == severe.volume.grid.shape == SHAPE
    assert severe.volume.hu.dtype == np.int16
    assert severe.labels.dtype == np.uint8
    assert set(np.unique(severe.labels)) <= {0, *LABELS.values()}
    z, y, x = severe.volume.spacing_mm
    assert (z, y) == pytest.approx((severe.facts.increment_mm, severe.facts.pixel_mm))
    assert x == y
    # Axial: left, back and head are where the indices grow.
    assert (np.diag(severe.volume.grid.affine)[:3] > 0).all()


def test_calcium_is_labeled_only_at_or_over_the_threshold(severe: Phantom) -> None:
    mask = calcium(severe)
    assert mask.sum() > 20
    assert severe.volume.hu[mask].min() >= 130


def test_calcium_lies_in_the_surroundings_of_its_artery(severe: Phantom) -> None:
    for artery in ARTERIES:
        region = severe.labels == REGION_LABELS[f"{artery}_region"]
        for z, y, x in np.argwhere(severe.labels == CALCIUM_LABELS[artery]):
            around = region[z, max(0, y - 6) : y + 7, max(0, x - 6) : x + 7]
            assert around.any()


def test_scores_meet_the_truth_and_the_class(severe: Phantom) -> None:
    scores = score_phantom(severe)
    truth = sum(artery.agatston for artery in severe.truth.values())
    assert scores.total.agatston == pytest.approx(truth, rel=0.25)
    assert scores.total.agatston > 250.0
    for artery in ARTERIES:
        if severe.truth[artery].plaques == 0:
            assert scores.arteries[artery].agatston == 0.0


def test_tissues_have_the_attenuation_of_scans(severe: Phantom) -> None:
    hu = severe.volume.hu
    middle = hu[:, 40:56, 40:56]
    assert np.median(middle) == pytest.approx(42.0, abs=14.0)
    lung = hu[(hu < -700) & (hu > -950)]
    assert np.median(lung) == pytest.approx(-850.0, abs=45.0)
    fat = hu[(hu > -150) & (hu < -50)]
    assert np.median(fat) == pytest.approx(-94.0, abs=10.0)
    assert (hu > 300).sum() > 200


def test_the_heart_lies_in_the_left_half_of_the_chest(severe: Phantom) -> None:
    # The spine lies in the middle of the body, with positive x to the left.
    grid = severe.volume.grid
    labeled = np.argwhere(severe.labels > 0).mean(axis=0)
    assert grid.affine[0, 3] + labeled[2] * grid.affine[0, 0] > 10.0


@pytest.fixture(scope="module")
def by_noise() -> dict[float, Phantom]:
    config = PhantomConfig(SHAPE, score_class="0", metal=False, kvp=120.0, motion_mm=0.0)
    return {
        sd: make_phantom(replace(config, noise_sd_hu=sd), seed=7) for sd in (0.0, 20.0, 26.0, 32.0)
    }


def test_noise_has_the_asked_standard_deviation(by_noise: dict[float, Phantom]) -> None:
    added = by_noise[20.0].volume.hu - by_noise[0.0].volume.hu
    assert added[:, 40:56, 40:56].std() == pytest.approx(20.0, rel=0.08)
    assert by_noise[20.0].facts.noise_sd_hu == 20.0


def test_false_candidates_grow_with_the_noise(by_noise: dict[float, Phantom]) -> None:
    # Calcium, bone and their blurred rims stay out: only soft tissue can become false.
    soft = by_noise[0.0].volume.hu < 60
    # 88 HU over blood are 4.4, 3.4 and 2.75 standard deviations.
    false = [int((phantom.volume.hu[soft] >= 130).sum()) for phantom in by_noise.values()]
    assert false[0] == 0
    assert false[1] < false[2] < false[3]
    assert false[3] > 4 * false[2]


def test_scores_change_with_the_place_of_the_slices_and_the_mass_does_not() -> None:
    config = PhantomConfig(
        (26, 96, 96),
        increment_mm=3.0,
        score_class="101-400",
        noise_sd_hu=12.0,
        kvp=120.0,
        motion_mm=0.0,
        metal=False,
    )
    shifted = [make_phantom(replace(config, shift_z_mm=z), seed=8) for z in (0.0, 1.0, 2.0)]
    scores = [score_phantom(phantom).total.agatston for phantom in shifted]
    # Partial volume alone moves the score of many small plaques by some percent.
    assert 1.03 < max(scores) / min(scores) < 2.5
    for artery in ARTERIES:
        assert len({phantom.truth[artery].mass_mg for phantom in shifted}) == 1


def test_a_patient_without_calcium_scores_zero() -> None:
    phantom = make_phantom(PhantomConfig(SMALL, score_class="0"), seed=9)
    assert score_phantom(phantom).total.agatston == 0.0
    assert set(np.unique(phantom.labels)) <= {0, *REGION_LABELS.values()}
    assert all(artery.mass_mg == 0.0 for artery in phantom.truth.values())


def test_what_is_fixed_is_reported() -> None:
    config = PhantomConfig(
        SMALL, fov_mm=200.0, increment_mm=5.0, kvp=100.0, noise_sd_hu=11.0, motion_mm=3.0
    )
    phantom = make_phantom(config, seed=10)
    facts = phantom.facts
    # 200 mm over 64 pixels.
    assert (facts.pixel_mm, facts.increment_mm, facts.thickness_mm) == (3.125, 5.0, 5.0)
    assert (facts.kvp, facts.noise_sd_hu, facts.motion_mm) == (100.0, 11.0, 3.0)
    assert phantom.volume.kvp == 100.0
    mask = calcium(phantom)
    assert not mask.any() or phantom.volume.hu[mask].min() >= 147


@pytest.mark.parametrize("shape", [(0, 64, 64), (12, -1, 64)])
def test_impossible_shapes_are_refused(shape: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="three positive sizes"):
        PhantomConfig(shape)


def test_an_unknown_class_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no score class '5'; known: 0, 1-10"):
        PhantomConfig(score_class="5")


def test_a_named_kind_of_metal_changes_nothing_else_about_the_patient() -> None:
    config = PhantomConfig(SMALL, noise_sd_hu=12.0, kvp=120.0, motion_mm=0.0, metal=False)
    bare = make_phantom(config, seed=11)
    wired = make_phantom(replace(config, metal=True, metal_part=LEAD), seed=11)
    assert LEAD in wired.facts.metal
    assert wired.volume.hu.max() > bare.volume.hu.max()
    assert {name: truth.mass_mg for name, truth in wired.truth.items()} == {
        name: truth.mass_mg for name, truth in bare.truth.items()
    }


def test_metal_is_not_both_certain_and_forbidden() -> None:
    with pytest.raises(ValueError, match="may have no metal"):
        PhantomConfig(SMALL, metal=False, metal_part=LEAD)
