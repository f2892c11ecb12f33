"""Islands at seeds: whole lesions, cut ones, and what is none."""

import numpy as np
import pytest

from app.arrays import axial_image
from app.clicks.islands import (
    LARGEST_AREA_MM2,
    LARGEST_CUT_AREA_MM2,
    LARGEST_CUT_MM3,
    LARGEST_MM3,
    REACH_MM,
    Field,
    island_at,
)
from app.imaging.reader import read_volume
from tests.app.clicks.scenes import SPACING_MM, field, mask_of, scene
from tests.real_data import real_data

SHAPE = (12, 120, 120)


def test_a_lesion_is_its_voxels_in_every_slice_and_nothing_else() -> None:
    hu = scene(SHAPE, np.s_[3:6, 10:14, 20:25], np.s_[3:6, 30:34, 20:25])
    found = island_at(field(hu), (4, 12, 22), [])
    expected = np.zeros(SHAPE, np.bool_)
    expected[3:6, 10:14, 20:25] = True
    np.testing.assert_array_equal(mask_of(SHAPE, found.voxels), expected)
    assert not found.is_cut


@pytest.mark.parametrize(("connectivity", "voxels"), [(6, 1), (26, 2)])
def test_neighbours_are_those_of_the_rule(connectivity: int, voxels: int) -> None:
    # The second voxel touches the first by a corner, in the next slice.
    hu = scene(SHAPE, np.s_[3:4, 10:11, 10:11], np.s_[4:5, 11:12, 11:12])
    found = island_at(field(hu, connectivity), (3, 10, 10), [])
    assert found.voxels.shape == (3, voxels)


def test_the_threshold_belongs_to_the_island() -> None:
    hu = scene(SHAPE, np.s_[3:4, 10:11, 10:12], hu=130)
    hu[3, 10, 12] = 129
    assert island_at(field(hu), (3, 10, 10), []).voxels.shape == (3, 2)


@pytest.mark.parametrize(("side", "is_cut"), [(28, False), (29, True)])
def test_area_in_a_slice_is_bounded(side: int, is_cut: bool) -> None:
    # 28 x 28 voxels of 0.25 mm2 have 196 mm2, 29 x 29 have 210.
    assert 28**2 / 4 <= LARGEST_AREA_MM2 < 29**2 / 4
    hu = scene(SHAPE, np.s_[3:4, 10 : 10 + side, 10 : 10 + side])
    assert island_at(field(hu), (3, 24, 24), []).is_cut == is_cut


@pytest.mark.parametrize(("slices", "is_cut"), [(10, False), (11, True)])
def test_volume_is_bounded(slices: int, is_cut: bool) -> None:
    # 14 x 14 voxels of 0.75 mm3 in ten slices have 1470 mm3, in eleven 1617.
    assert 14**2 * 0.75 * 10 <= LARGEST_MM3 < 14**2 * 0.75 * 11
    hu = scene(SHAPE, np.s_[:slices, 10:24, 10:24])
    assert island_at(field(hu), (3, 17, 17), []).is_cut == is_cut


def test_nothing_is_answered_inside_bone_or_blood() -> None:
    hu = scene(SHAPE, np.s_[:, 10:90, 10:90])
    found = island_at(field(hu), (6, 50, 50), [])
    assert found.is_cut
    assert found.voxels.shape == (3, 0)


def test_a_lesion_bridged_to_bone_is_cut_off_its_bone() -> None:
    # A lesion of 2 x 2 mm, a bridge of one voxel 20 mm long, then bone.
    hu = scene(SHAPE, np.s_[5:7, 10:14, 10:14], np.s_[5:6, 12:13, 14:54], np.s_[:, 10:100, 54:120])
    found = island_at(field(hu), (5, 12, 12), [])
    mask = mask_of(SHAPE, found.voxels)
    assert found.is_cut
    assert mask[5:7, 10:14, 10:14].all()
    # 10 mm are 20 voxels of 0.5 mm.
    assert mask[5, 12, 32]
    assert not mask[:, :, 33:].any()


@pytest.mark.parametrize("seed", range(5))
def test_a_cut_piece_is_never_farther_or_larger_than_allowed(seed: int) -> None:
    # Blurred noise: islands of every shape, most of them through the whole volume.
    rng = np.random.default_rng(seed)
    hu = np.where(rng.random((8, 60, 60)) < 0.35, 300, 40).astype(np.int16)
    f = field(hu)
    for at in rng.permutation(np.argwhere(hu == 300))[:20]:
        start = (int(at[0]), int(at[1]), int(at[2]))
        found = island_at(f, start, [])
        volume = found.voxels.shape[1] * 0.75
        if not found.is_cut:
            assert volume <= LARGEST_MM3
            continue
        offsets = (found.voxels - at[:, None]) * np.asarray(SPACING_MM)[:, None]
        assert (np.linalg.norm(offsets, axis=0) <= REACH_MM + 1e-9).all()
        assert volume <= LARGEST_CUT_MM3
        assert f.largest_area_mm2(found.voxels) <= LARGEST_CUT_AREA_MM2


def test_a_background_seed_takes_what_is_nearer_to_it() -> None:
    hu = scene(SHAPE, np.s_[5:6, 10:12, 10:30])
    found = island_at(field(hu), (5, 10, 10), [(5, 10, 29)])
    # Columns 10 to 29: the first ten are nearer to column 10.
    assert sorted(set(found.voxels[2].tolist())) == list(range(10, 20))


def test_distance_is_measured_along_the_island() -> None:
    # A hairpin: its end is 1 mm from its begin through the air, 38 voxels along the island.
    hu = scene(SHAPE, np.s_[5:6, 10:11, 10:30], np.s_[5:6, 11:12, 29:30], np.s_[5:6, 12:13, 10:30])
    found = island_at(field(hu), (5, 10, 10), [(5, 12, 10)])
    assert found.voxels[1].max() == 11
    assert (found.voxels[1] == 10).sum() == 20


def test_a_background_seed_in_another_island_takes_nothing() -> None:
    hu = scene(SHAPE, np.s_[5:6, 10:12, 10:20], np.s_[5:6, 14:16, 10:20])
    found = island_at(field(hu), (5, 10, 10), [(5, 14, 10)])
    assert found.voxels.shape == (3, 20)


def test_a_background_seed_parts_a_lesion_from_blood() -> None:
    # A lesion right beside an aorta; 14 voxels are 7 mm.
    hu = scene(SHAPE, np.s_[5:6, 50:54, 10:18], np.s_[:, 10:100, 18:100])
    assert island_at(field(hu), (5, 52, 10), []).voxels.shape[1] > 32
    found = island_at(field(hu), (5, 52, 10), [(5, 52, 24)])
    assert mask_of(SHAPE, found.voxels)[5, 50:54, 10:17].all()
    assert found.voxels[2].max() <= 18


def test_bone_and_blood_of_a_real_patient_never_flood() -> None:
    image = axial_image(read_volume(real_data("cptac-chest")))
    depth, height, width = image.hu.shape
    f = Field(image.hu, image.spacing_mm, image.threshold_hu, (0, 0, 0), (depth, height, width))
    bright = np.argwhere(image.hu >= image.threshold_hu)
    voxel_mm3 = float(np.prod(image.spacing_mm))
    for at in np.random.default_rng(0).permutation(bright)[:30]:
        found = island_at(f, (int(at[0]), int(at[1]), int(at[2])), [])
        assert found.voxels.shape[1] * voxel_mm3 <= (
            LARGEST_CUT_MM3 if found.is_cut else LARGEST_MM3
        )
