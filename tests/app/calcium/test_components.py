import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy import ndimage

from app.calcium.components import label_components, neighbour_offsets, voxel_pairs

masks = hnp.arrays(np.bool_, st.tuples(*[st.integers(1, 6)] * 3))


@pytest.mark.parametrize("connectivity", [4, 8, 6, 26])
def test_each_pair_of_opposite_neighbours_is_named_once(connectivity: int) -> None:
    offsets = neighbour_offsets(connectivity)
    both_ways = set(offsets) | {(-z, -y, -x) for z, y, x in offsets}
    assert len(offsets) * 2 == len(both_ways) == connectivity


def slow_labels(mask: NDArray[np.bool_], connectivity: int) -> NDArray[np.int32]:
    structure = ndimage.generate_binary_structure(3, 3 if connectivity in (8, 26) else 1)
    if connectivity in (4, 8):
        structure[[0, 2]] = False
    components = ndimage.label(mask, structure)[0]
    return components[mask].astype(np.int32)


@pytest.mark.parametrize("connectivity", [4, 8, 6, 26])
@given(mask=masks)
def test_components_are_those_of_scipy(connectivity: int, mask: NDArray[np.bool_]) -> None:
    voxels = np.stack(np.nonzero(mask))
    found = label_components(voxels.shape[1], voxel_pairs(voxels, connectivity))
    expected = slow_labels(mask, connectivity)
    # Numbers may differ, so compare which voxels share one.
    np.testing.assert_array_equal(found[:, None] == found, expected[:, None] == expected)


def test_a_row_does_not_join_the_next_row_at_the_border() -> None:
    # (0, 0, 4) and (0, 1, 0) follow each other in memory but are no neighbours.
    voxels = np.array([[0, 0], [0, 1], [4, 0]])
    assert voxel_pairs(voxels, 26).first.size == 0


def test_no_voxels_have_no_pairs() -> None:
    pairs = voxel_pairs(np.empty((3, 0), np.intp), 8)
    assert pairs.first.size == pairs.second.size == 0
