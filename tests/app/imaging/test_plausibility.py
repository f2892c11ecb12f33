"""Both sides of every limit of what a CT can be."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from app.errors import ImagingError
from app.imaging.plausibility import (
    PORTION_VOXELS,
    check_grid,
    check_kvp,
    check_rescale,
    check_shape,
    check_spacing,
    to_hounsfield,
)
from app.imaging.volume import Grid
from tests.factories import make_grid


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (check_spacing, (0.1, 0.25, 10.0), (0.0999, 10.001, 0.0, -1.0, np.nan, np.inf)),
        (check_kvp, (40.0, 120.0, 200.0), (39.9, 200.1, 0.0, -120.0, np.nan, np.inf)),
        (lambda slope: check_rescale(slope, 0), (0.001, 1.0, 100.0), (0.0, 101.0, np.nan)),
        (lambda offset: check_rescale(1, offset), (-32768.0, 0.0), (-32769.0, np.nan, np.inf)),
        (check_shape, ((1, 1, 1), (2048, 1, 1)), ((0, 1, 1), (2049, 1, 1))),
        (check_shape, ((512, 512, 2048),), ((513, 512, 2048),)),
    ],
)
def test_limits(check: Callable[[Any], None], good: tuple[Any, ...], bad: tuple[Any, ...]) -> None:
    for value in good:
        check(value)
    for value in bad:
        with pytest.raises(ImagingError):
            check(value)


def turned(degrees: float) -> Grid:
    angle = np.radians(degrees)
    turn = np.eye(3)
    turn[1:, 1:] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return make_grid(directions=turn)


@pytest.mark.parametrize("degrees", [0, 19.9, -19.9, 90, 180, 199])
def test_axes_near_those_of_the_patient_are_accepted(degrees: float) -> None:
    check_grid(turned(degrees))


@pytest.mark.parametrize("degrees", [20.1, 45, 60, 120])
def test_axes_between_those_of_the_patient_are_refused(degrees: float) -> None:
    with pytest.raises(ImagingError, match="patient's axes"):
        check_grid(turned(degrees))


@pytest.mark.parametrize(("shear", "sound"), [(0.0009, True), (0.0011, False), (1.0, False)])
def test_axes_stand_at_right_angles(shear: float, sound: bool) -> None:
    directions = np.eye(3)
    directions[:, 2] = [0, shear, np.sqrt(1 - shear**2)]
    if sound:
        check_grid(make_grid(directions=directions))
    else:
        with pytest.raises(ImagingError, match="shear"):
            check_grid(make_grid(directions=directions))


def test_far_positions_are_refused() -> None:
    check_grid(make_grid(origin_mm=(0, 0, -10_000.0)))
    with pytest.raises(ImagingError, match="10000 mm"):
        check_grid(make_grid(origin_mm=(0, 0, -10_001.0)))


def test_whole_units_are_not_copied() -> None:
    hu = np.array([-1000, 0, 400], np.int16)
    assert to_hounsfield(hu) is hu


def test_the_ends_of_int16_are_kept() -> None:
    assert to_hounsfield(np.array([-32768.0, 32767.0])).tolist() == [-32768, 32767]


def test_values_that_come_in_portions_are_one_array_in_their_order() -> None:
    values = np.linspace(-1000.0, 3000.0, 3 * PORTION_VOXELS // 2)
    hu = to_hounsfield(values)
    np.testing.assert_array_equal(hu, np.rint(values))
    values[-1] = np.nan
    with pytest.raises(ImagingError, match="not finite"):
        to_hounsfield(values)


@pytest.mark.parametrize("value", [-32768.4, -32769, 32767.4, 32768, 65535])
def test_values_beyond_int16_are_refused(value: float) -> None:
    with pytest.raises(ImagingError, match="from -32768 to 32767 HU"):
        to_hounsfield(np.array([0, value]))


@pytest.mark.parametrize(("span", "sound"), [(50, True), (49, False), (0, False)])
def test_an_image_spans_tissue(span: int, sound: bool) -> None:
    values = np.array([0, span], np.int32)
    if sound:
        assert to_hounsfield(values).dtype == np.int16
    else:
        with pytest.raises(ImagingError, match="spanning at least 50"):
            to_hounsfield(values)


def tissue_and_fat(dark: int, *, padded: int = 0) -> np.ndarray[Any, np.dtype[np.int16]]:
    """Make 10 000 voxels of 60 HU, some at -51 or -100 HU, some with the padding of a scanner."""
    hu = np.full(10_000, 60, np.int16)
    hu[:dark:2], hu[1:dark:2] = -51, -100
    hu[dark : dark + padded] = -2048
    return hu


# Fat at two values, the lower of which counts as padding: 200 voxels are 100 that count.
@pytest.mark.parametrize(("dark", "sound"), [(200, True), (198, False), (0, False)])
def test_a_ct_holds_fat_lung_or_air(dark: int, sound: bool) -> None:
    hu = tissue_and_fat(dark)
    hu[-1] = 400
    if sound:
        assert to_hounsfield(hu) is hu
    else:
        with pytest.raises(ImagingError, match="was the rescale intercept lost"):
            to_hounsfield(hu)


@pytest.mark.parametrize(("dark", "sound"), [(100, True), (99, False)])
def test_padding_is_neither_fat_nor_air(dark: int, sound: bool) -> None:
    hu = tissue_and_fat(dark, padded=5000)
    if sound:
        assert to_hounsfield(hu) is hu
    else:
        with pytest.raises(ImagingError, match="was the rescale intercept lost"):
            to_hounsfield(hu)


@pytest.mark.parametrize(("count", "sound"), [(4095, True), (4096, False)])
def test_a_few_voxels_need_no_fat(count: int, sound: bool) -> None:
    hu = np.resize(np.array([40, 200], np.int16), count)
    if sound:
        assert to_hounsfield(hu) is hu
    else:
        with pytest.raises(ImagingError):
            to_hounsfield(hu)
