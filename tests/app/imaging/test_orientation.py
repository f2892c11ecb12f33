"""Axis order: flips and permutations that move voxels in memory only."""

import numpy as np
import pytest
import SimpleITK
from numpy.typing import NDArray

from app.errors import ImagingError
from app.imaging.orientation import from_axial, to_axial
from tests.factories import ORIENTATIONS, make_grid, make_volume, to_itk

orientations = pytest.mark.parametrize("directions", ORIENTATIONS, ids=lambda d: str(d.tolist()))


@orientations
def test_axial_axes_point_left_back_and_up(directions: NDArray[np.float64]) -> None:
    _, axial = to_axial(np.zeros((5, 6, 7), np.uint8), make_grid(directions=directions))
    linear = axial.affine[:3, :3]
    np.testing.assert_array_equal(linear, np.diag(np.diag(linear)))
    assert (np.diag(linear) > 0).all()


@orientations
def test_axial_order_is_the_lps_order_of_simpleitk(directions: NDArray[np.float64]) -> None:
    volume = make_volume(make_grid(directions=directions))
    array, grid = to_axial(volume.hu, volume.grid)
    image = SimpleITK.DICOMOrient(to_itk(volume.hu, volume.grid), "LPS")
    np.testing.assert_array_equal(array, SimpleITK.GetArrayFromImage(image))
    np.testing.assert_allclose(grid.affine[:3, 3], image.GetOrigin())
    np.testing.assert_allclose(grid.spacing_mm, image.GetSpacing()[::-1])


@orientations
def test_back_from_axial_is_where_it_came_from(directions: NDArray[np.float64]) -> None:
    volume = make_volume(make_grid(directions=directions))
    array, _ = to_axial(volume.hu, volume.grid)
    np.testing.assert_array_equal(from_axial(array, volume.grid), volume.hu)


def test_layers_in_front_stay_in_front() -> None:
    volume = make_volume(make_grid(directions=ORIENTATIONS[29]))
    layers = np.stack([volume.hu, -volume.hu])
    array, _ = to_axial(layers, volume.grid)
    np.testing.assert_array_equal(array[1], to_axial(-volume.hu, volume.grid)[0])


def test_a_slightly_oblique_grid_is_taken_for_the_nearest_axes() -> None:
    angle = np.radians(5)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0]])
    grid = make_grid(directions=np.vstack([turn, [0, 0, -1]]))
    array, _ = to_axial(make_volume(grid).hu, grid)
    # Only the third axis runs against its patient axis.
    np.testing.assert_array_equal(array, make_volume(grid).hu[::-1])


def test_two_axes_along_one_patient_axis_are_refused() -> None:
    # A turn by 60 degrees about the diagonal: two patient axes are nearest to one index axis.
    directions = np.array([[2, -1, 2], [2, 2, -1], [-1, 2, 2]]) / 3
    grid = make_grid(directions=directions)
    with pytest.raises(ImagingError, match="do not follow the axes"):
        to_axial(np.zeros(grid.shape), grid)
