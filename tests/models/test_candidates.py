import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from models.candidates import group_into_patches, large_components, widen

points = st.lists(
    st.tuples(st.integers(0, 200), st.integers(0, 200)), min_size=1, max_size=60, unique=True
)


def test_bone_is_large_and_a_plaque_beside_it_is_not() -> None:
    candidates = np.zeros((4, 30, 30), np.bool_)
    # 4 x 10 x 10 voxels of 3 x 2.2 x 2.2 mm have 5808 mm³, the 2 x 2 beside them 58 mm³.
    candidates[:, :10, :10] = candidates[0, 20:22, 20:22] = True
    large = large_components(candidates, (3.0, 2.2, 2.2))
    assert large[:, :10, :10].all()
    assert large.sum() == 400


def test_the_largest_lesion_known_is_not_bone() -> None:
    candidates = np.zeros((10, 20, 20), np.bool_)
    # 10 x 10 x 10 voxels of 3 x 0.7 x 0.7 mm have 1470 mm³; the largest known has 962 mm³.
    candidates[:, 5:15, 5:15] = True
    assert not large_components(candidates, (3.0, 0.7, 0.7)).any()


def test_components_that_touch_by_a_corner_are_one() -> None:
    candidates = np.zeros((2, 20, 20), np.bool_)
    candidates[0, :10, :10] = candidates[1, 10:, 10:] = True
    # 100 voxels of 30 mm³ each are 3000 mm³, both together 6000 mm³.
    assert large_components(candidates, (3.0, 3.16, 3.16)).sum() == 200


def test_widening_reaches_as_far_as_it_says_along_each_axis() -> None:
    mask = np.zeros((9, 9), np.bool_)
    mask[4, 4] = True
    rows, columns = np.nonzero(widen(mask, (1, 3)))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (3, 5, 1, 7)
    assert rows.size == 21


@settings(max_examples=60, deadline=None)
@given(points, st.integers(0, 9))
def test_every_point_is_in_one_patch(places: list[tuple[int, int]], margin: int) -> None:
    groups = group_into_patches(np.array(places).T, margin)
    assert sorted(np.concatenate(groups)) == list(range(len(places)))
    assert all(group.size for group in groups)


def test_far_points_get_patches_of_their_own() -> None:
    places = np.array([[5, 6, 7, 100, 101], [5, 5, 6, 120, 121]])
    groups = group_into_patches(places, 6)
    assert sorted(sorted(group.tolist()) for group in groups) == [[0, 1, 2], [3, 4]]


def test_a_ring_is_not_decoded_as_its_whole_box() -> None:
    angles = np.linspace(0, 2 * np.pi, 400)
    ring = np.unique(np.rint(100 + 80 * np.stack([np.sin(angles), np.cos(angles)])), axis=1)
    places = ring.astype(np.int64)
    groups = group_into_patches(places, 6)
    area = sum(np.prod(np.ptp(places[:, group], axis=1) + 13) for group in groups)
    # The box of the whole ring has 173 x 173 pixels.
    assert area < 0.6 * 173**2


def test_no_point_needs_no_patch() -> None:
    assert group_into_patches(np.empty((2, 0), np.int64), 6) == []
