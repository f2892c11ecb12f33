"""Lesions at clicks, where an island is more than a lesion."""

import numpy as np

from app.clicks.lesions import Clicks, lesions_at
from tests.app.clicks.scenes import image, mask_of, scene

SHAPE = (13, 120, 140)

BRIDGED = scene(SHAPE, np.s_[5:7, 10:14, 10:14], np.s_[5:6, 12:13, 14:54], np.s_[:, 10:100, 54:120])
"""A lesion of 2 x 2 mm, a bridge of one voxel 20 mm long, then bone."""

ON_LESION, ON_BRIDGE = (12, 12, 5), (24, 12, 5)


def test_a_lesion_that_hangs_together_with_bone_waits_for_its_bound() -> None:
    (found,) = lesions_at(image(BRIDGED), Clicks([ON_LESION]), rule="agatston")
    assert found.is_empty
    assert "background clicks or a ROI" in found.note


def test_a_background_click_on_the_bridge_frees_the_lesion() -> None:
    clicks = Clicks([ON_LESION], background=[ON_BRIDGE])
    (found,) = lesions_at(image(BRIDGED), clicks, rule="agatston")
    mask = mask_of(SHAPE, found.voxels)
    assert mask[5:7, 10:14, 10:14].all()
    # Halfway along the bridge, at voxel 18, both clicks are equally far.
    assert not mask[:, :, 19:].any()


def test_a_roi_frees_the_lesion() -> None:
    clicks = Clicks([ON_LESION], roi=((8, 8, 4), (16, 16, 8)))
    (found,) = lesions_at(image(BRIDGED), clicks, rule="agatston")
    expected = np.zeros(SHAPE, np.bool_)
    expected[5:7, 10:14, 10:14] = True
    expected[5, 12, 14:17] = True
    np.testing.assert_array_equal(mask_of(SHAPE, found.voxels), expected)


def test_a_background_click_elsewhere_bounds_nothing() -> None:
    # On nothing at all, and on the bone far away from the lesion.
    for elsewhere in ((130, 110, 1), (110, 90, 11)):
        clicks = Clicks([ON_LESION], background=[elsewhere])
        (found,) = lesions_at(image(BRIDGED), clicks, rule="agatston")
        assert found.is_empty
        assert "background clicks or a ROI" in found.note


def test_a_roi_around_everything_bounds_nothing() -> None:
    clicks = Clicks([ON_LESION], roi=((0, 0, 0), (139, 119, 12)))
    (found,) = lesions_at(image(BRIDGED), clicks, rule="agatston")
    assert found.is_empty
    assert "background clicks or a ROI" in found.note
