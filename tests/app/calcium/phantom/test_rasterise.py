import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.calcium.phantom.geometry import Body, Cylinder, Ellipsoid, box_ellipsoid
from app.calcium.phantom.plaques import Deposit
from app.calcium.phantom.rasterise import CalciumMap, Frame, rasterise_deposits

REST = [np.zeros(3)]
shifts = st.tuples(*[st.floats(-1.0, 1.0)] * 3)


def frame(pixel_mm: float, thickness_mm: float, increment_mm: float) -> Frame:
    centres = np.linspace(-19.5, 19.5, 40) * pixel_mm
    z = np.linspace(-5.0, 5.0, 11) * increment_mm
    return Frame(centres, centres, z, thickness_mm, increment_mm)


def mass_mg(drawn: CalciumMap, on: Frame) -> float:
    voxel_mm3 = on.pixel_mm**2 * on.increment_mm
    return float(drawn.density_mg_cm3.sum()) * voxel_mm3 / 1000.0


@settings(max_examples=25, deadline=None)
@given(shifts, st.sampled_from([(0.4, 3.0), (0.49, 2.5), (1.6, 4.0)]))
def test_voxels_hold_the_analytic_mass_wherever_a_plaque_lies(
    shift: tuple[float, float, float], voxel: tuple[float, float]
) -> None:
    on = frame(voxel[0], voxel[1], voxel[1])
    axes, _ = np.linalg.qr(np.random.default_rng(4).normal(size=(3, 3)))
    plaque = Deposit(Ellipsoid(np.array(shift), axes, np.array([2.0, 0.9, 1.3])), 400.0, "LAD")
    drawn = rasterise_deposits([plaque], on, REST)
    assert mass_mg(drawn, on) == pytest.approx(plaque.mass_mg, rel=0.04)


@pytest.mark.parametrize(
    ("diameter_mm", "volume_mm3", "mass"),
    [(5.0, 98.2, 39.3), (3.0, 21.2, 8.5), (1.0, 0.785, 0.314)],
)
def test_standard_inserts_have_the_mass_of_their_data_sheet(
    diameter_mm: float, volume_mm3: float, mass: float
) -> None:
    on = frame(0.488, 3.0, 3.0)
    body: Body = Cylinder(np.zeros(3), diameter_mm / 2.0, diameter_mm)
    insert = Deposit(body, 400.0)
    assert body.volume_mm3 == pytest.approx(volume_mm3, rel=0.005)
    assert insert.mass_mg == pytest.approx(mass, rel=0.005)
    assert mass_mg(rasterise_deposits([insert], on, REST), on) == pytest.approx(mass, rel=0.06)


def test_a_slice_between_two_gets_half_of_a_thin_plaque_each() -> None:
    on = frame(0.5, 3.0, 3.0)
    plaque = Deposit(box_ellipsoid((0.0, 0.0, 1.5), (2.0, 2.0, 1.0)), 400.0)
    by_slice = rasterise_deposits([plaque], on, REST).density_mg_cm3.sum(axis=(1, 2))
    assert by_slice[5] == pytest.approx(by_slice[6], rel=1e-4)
    assert by_slice[[4, 7]].sum() == 0.0


def test_overlapping_slices_see_a_plaque_twice() -> None:
    plaque = Deposit(box_ellipsoid((0.0, 0.0, 0.75), (2.0, 2.0, 0.5)), 400.0)
    density = rasterise_deposits([plaque], frame(0.5, 3.0, 1.5), REST).density_mg_cm3
    # Centres at 0 and 1.5 mm lie within half a slice of 0.75 mm, those at -1.5 and 3 do not.
    assert np.flatnonzero(density.any(axis=(1, 2))).tolist() == [5, 6]


def test_motion_spreads_a_plaque_and_keeps_its_mass() -> None:
    on = frame(0.5, 3.0, 3.0)
    plaque = Deposit(box_ellipsoid((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)), 400.0)
    still = rasterise_deposits([plaque], on, REST)
    path = [np.array([x, 0.0, 0.0]) for x in (-3.0, 0.0, 3.0)]
    moved = rasterise_deposits([plaque], on, path)
    assert mass_mg(moved, on) == pytest.approx(mass_mg(still, on), rel=0.02)
    assert moved.density_mg_cm3.max() == pytest.approx(still.density_mg_cm3.max() / 3.0, rel=0.02)


def test_calcium_outside_the_field_of_view_is_dropped() -> None:
    plaque = Deposit(box_ellipsoid((500.0, 0.0, 0.0), (1.0, 1.0, 1.0)), 400.0)
    assert not rasterise_deposits([plaque], frame(0.5, 3.0, 3.0), REST).covered.any()
