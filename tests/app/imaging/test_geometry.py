"""How labels find their place on the grid of their image, and when they do not."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from app.errors import LabelError
from app.imaging.geometry import match_label_to_grid, same_grid
from app.imaging.labelmap import LabelMap, Segment, read_label_map
from app.imaging.orientation import axis_map
from app.imaging.volume import Grid
from tests.app.imaging.test_labelmap import FIELDS, slicer_segmentation
from tests.factories import ORIENTATIONS, SHAPE, make_grid, make_labels


def shifted(grid: Grid, index: tuple[float, float, float]) -> Grid:
    """Return the grid with its first voxel at an index (x, y, z) of the old one."""
    affine = grid.affine.copy()
    affine[:, 3] = grid.affine @ (*index, 1)
    return Grid(grid.shape, affine)


def cropped(labels: NDArray[np.uint8], grid: Grid) -> LabelMap:
    """Cut the voxels from (1, 2, 3) to (4, 5, 6) along (Z, Y, X)."""
    part = shifted(grid, (3, 2, 1))
    return LabelMap(labels[1:4, 2:5, 3:6], Grid((3, 3, 3), part.affine))


@pytest.mark.parametrize("index", [(0.0, 0.0, 0.0), (0.09, 0, 0), (0, -0.09, 0.09)])
def test_a_tenth_of_a_voxel_is_the_same_grid(index: tuple[float, float, float]) -> None:
    assert same_grid(make_grid(), shifted(make_grid(), index))


@pytest.mark.parametrize("index", [(0.11, 0, 0), (0, 0, -0.11), (1, 0, 0)])
def test_more_than_a_tenth_is_another_grid(index: tuple[float, float, float]) -> None:
    assert not same_grid(make_grid(), shifted(make_grid(), index))


def test_another_shape_is_another_grid() -> None:
    assert not same_grid(make_grid(), make_grid((5, 6, 8)))


def test_spacing_that_adds_up_to_a_voxel_is_another_grid() -> None:
    # 0.1 % of a spacing moves the last of 512 voxels by half a voxel.
    fine = make_grid((4, 4, 512), spacing_mm=(3.0, 0.5, 0.5))
    assert not same_grid(fine, make_grid((4, 4, 512), spacing_mm=(3.0, 0.5, 0.5005)))


def test_a_label_on_the_same_grid_is_unchanged() -> None:
    label = LabelMap(make_labels(), make_grid(), (Segment("LAD", 2),))
    matched = match_label_to_grid(label, make_grid())
    np.testing.assert_array_equal(matched.array, label.array)
    assert matched.segments == label.segments


@pytest.mark.parametrize("directions", ORIENTATIONS, ids=lambda d: str(d.tolist()))
def test_flips_and_permutations_are_undone(directions: NDArray[np.float64]) -> None:
    grid = make_grid(directions=ORIENTATIONS[13])
    mapping = axis_map(directions)
    label = LabelMap(mapping.map_array(make_labels()), mapping.map_grid(grid))
    matched = match_label_to_grid(label, grid)
    np.testing.assert_array_equal(matched.array, make_labels())
    assert matched.grid is grid


@given(
    orientation=st.sampled_from(ORIENTATIONS),
    turn=st.sampled_from(ORIENTATIONS),
    jitter=st.tuples(*[st.floats(-0.09, 0.09)] * 3),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_any_crop_in_any_order_goes_back_to_its_place(
    orientation: NDArray[np.float64],
    turn: NDArray[np.float64],
    jitter: tuple[float, float, float],
    seed: int,
) -> None:
    grid, labels = make_grid(directions=orientation), make_labels(seed=seed)
    part = cropped(labels, grid)
    part = LabelMap(part.array, shifted(part.grid, jitter))
    mapping = axis_map(turn)
    label = LabelMap(mapping.map_array(part.array), mapping.map_grid(part.grid))
    expected = np.zeros(SHAPE, np.uint8)
    expected[1:4, 2:5, 3:6] = labels[1:4, 2:5, 3:6]
    np.testing.assert_array_equal(match_label_to_grid(label, grid).array, expected)


def test_layers_are_embedded_each() -> None:
    layers = np.stack([make_labels(seed=1), make_labels(seed=2)])
    part = LabelMap(layers[:, 1:4, 2:5, 3:6], cropped(layers[0], make_grid()).grid)
    matched = match_label_to_grid(part, make_grid())
    assert matched.array.shape == (2, *SHAPE)
    np.testing.assert_array_equal(matched.array[:, 1:4, 2:5, 3:6], part.array)
    assert np.count_nonzero(matched.array) == np.count_nonzero(part.array)


def test_a_label_beyond_the_image_is_cut_where_nothing_is_painted() -> None:
    larger = np.pad(make_labels(), 2)
    label = LabelMap(larger, Grid(larger.shape, shifted(make_grid(), (-2, -2, -2)).affine))
    np.testing.assert_array_equal(match_label_to_grid(label, make_grid()).array, make_labels())


def test_painted_voxels_beyond_the_image_are_refused() -> None:
    larger = np.pad(make_labels(), 2)
    larger[0, 0, :2] = 3
    label = LabelMap(larger, Grid(larger.shape, shifted(make_grid(), (-2, -2, -2)).affine))
    with pytest.raises(LabelError, match="2 labeled voxels outside"):
        match_label_to_grid(label, make_grid())


@pytest.mark.parametrize("painted", [0, 1])
def test_a_label_beside_the_image_is_refused(painted: int) -> None:
    beside = shifted(make_grid(), (50, 0, 0))
    label = LabelMap(np.full(SHAPE, painted, np.uint8), beside)
    with pytest.raises(LabelError, match="outside"):
        match_label_to_grid(label, make_grid())


def turned(grid: Grid, degrees: float) -> Grid:
    angle = np.radians(degrees)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return Grid(grid.shape, grid.affine @ turn)


CUBE = make_grid((4, 64, 64), spacing_mm=(3.0, 0.5, 0.5))
DIAGONAL_TURN = np.array([[2, -1, 2, 0], [2, 2, -1, 0], [-1, 2, 2, 0], [0, 0, 0, 3]]) / 3


@pytest.mark.parametrize(
    ("grid", "fragment"),
    [
        (shifted(CUBE, (0.5, 0, 0)), r"off by \(0.50, 0.00, 0.00\) voxels"),
        (shifted(CUBE, (0, 0, 2.5)), r"between the voxels"),
        (shifted(CUBE, (0, 0.25, 0)), r"off by \(0.00, 0.25, 0.00\) voxels"),
        (make_grid((4, 64, 64), spacing_mm=(1.5, 0.5, 0.5)), "0.5 x 0.5 x 3 mm as in the image"),
        (make_grid((4, 32, 32), spacing_mm=(3.0, 1.0, 1.0)), "the label has 1 x 1 x 3 mm"),
        (turned(CUBE, 2), "rotated"),
        (turned(CUBE, 44), "rotated"),
        (turned(CUBE, 45), "rotated"),
        (Grid(CUBE.shape, CUBE.affine @ DIAGONAL_TURN), "rotated"),
    ],
)
def test_what_would_need_interpolation_is_refused(grid: Grid, fragment: str) -> None:
    with pytest.raises(LabelError, match=fragment):
        match_label_to_grid(LabelMap(make_labels(grid.shape), grid), CUBE)


def test_an_empty_segmentation_of_slicer_means_nothing_is_labeled() -> None:
    # Saved as a single voxel at the origin of the world, whatever the image.
    label = LabelMap(np.zeros((1, 1, 1), np.uint8), Grid((1, 1, 1), np.eye(4)), (Segment("LM", 1),))
    matched = match_label_to_grid(label, make_grid())
    assert matched.array.shape == SHAPE
    assert not matched.array.any()
    assert matched.segments == label.segments


def test_a_cropped_segmentation_of_slicer_lands_in_its_place(tmp_path: Path) -> None:
    grid = make_grid(origin_mm=(1.0, 2.0, 3.0))
    layers = np.stack([make_labels(seed=1, values=1), make_labels(seed=2, values=1)])
    # The offset of the extent is repeated in the origin: 1 + 3 * 0.75, 2 + 2 * 0.5, 3 + 1 * 3.
    fields: dict[str, Any] = FIELDS | {"Segmentation_ReferenceImageExtentOffset": "3 2 1"}
    path = slicer_segmentation(
        tmp_path / "x.seg.nrrd", layers[:, 1:4, 2:5, 3:6], fields, origin="(3.25,3,6)"
    )
    matched = match_label_to_grid(read_label_map(path), grid)
    expected = np.zeros_like(layers)
    expected[:, 1:4, 2:5, 3:6] = layers[:, 1:4, 2:5, 3:6]
    np.testing.assert_array_equal(matched.array, expected)
