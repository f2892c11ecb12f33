import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.calcium.phantom.geometry import (
    Cylinder,
    Ellipsoid,
    Plane,
    bend_tube,
    between,
    box_ellipsoid,
    coverage,
    smooth_union,
)

numbers = st.floats(-50.0, 50.0)


def plane(pixel_mm: float = 0.5, side: int = 81, z: float = 0.0) -> Plane:
    centres = np.linspace(-(side // 2), side // 2, side) * pixel_mm
    return Plane(centres, centres, z)


def test_distance_to_a_ball_is_exact() -> None:
    ball = box_ellipsoid((1.0, 2.0, 3.0), (5.0, 5.0, 5.0))
    # 13 mm from the centre along (3, 4, 12) / 13, so 8 mm outside.
    distance = ball.distance(np.array([4.0]), np.array([6.0]), 15.0)
    assert distance == pytest.approx([8.0])


def test_distance_vanishes_on_the_surface_of_a_turned_ellipsoid() -> None:
    axes, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))
    body = Ellipsoid(np.array([1.0, -2.0, 3.0]), axes, np.array([2.0, 5.0, 9.0]))
    for sign in (-1.0, 1.0):
        tips = body.centre + sign * body.axes * body.semi[:, None]
        distance = body.distance(tips[:, 0], tips[:, 1], tips[:, 2])
        assert distance == pytest.approx(np.zeros(3), abs=1e-9)


def test_the_gradient_is_the_slope_of_the_distance() -> None:
    axes, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))
    body = Ellipsoid(np.array([1.0, -2.0, 3.0]), axes, np.array([2.0, 5.0, 9.0]))
    points = np.random.default_rng(2).normal(0.0, 8.0, (20, 3))
    for axis, step in enumerate(np.eye(3) * 1e-4):
        ahead, behind = (body.distance(*(points + sign * step).T) for sign in (1.0, -1.0))
        assert body.gradient(points)[:, axis] == pytest.approx((ahead - behind) / 2e-4, abs=1e-5)


def test_reach_is_the_box_around_a_turned_ellipsoid() -> None:
    turn = np.sqrt(0.5) * np.array([[1.0, 1.0, 0.0], [-1.0, 1.0, 0.0], [0.0, 0.0, np.sqrt(2.0)]])
    body = Ellipsoid(np.zeros(3), turn, np.array([3.0, 1.0, 2.0]))
    # At 45 degrees: sqrt((9 + 1) / 2) in the plane, 2 along z.
    assert body.reach_mm == pytest.approx([np.sqrt(5.0), np.sqrt(5.0), 2.0])


def test_covered_pixels_add_up_to_the_area_of_a_disc() -> None:
    covered = coverage(box_ellipsoid((0.2, 0.1, 0.0), (8.0, 8.0, 8.0)).on_plane(plane()), 0.5)
    # Pi 8² = 201.06 mm², in pixels of 0.25 mm².
    assert covered.sum() * 0.25 == pytest.approx(201.06, rel=0.005)


def test_a_cylinder_ends_where_it_should() -> None:
    cylinder = Cylinder(np.array([0.0, 0.0, 10.0]), 2.5, 5.0)
    heights = np.array([7.4, 7.6, 12.4, 12.6])
    inside = cylinder.distance(np.zeros(4), np.zeros(4), heights) < 0
    np.testing.assert_array_equal(inside, [False, True, True, False])
    # Pi 2.5² 5 = 98.17 mm³, the volume on the data sheet of the insert.
    assert cylinder.volume_mm3 == pytest.approx(98.17, abs=0.01)


def test_a_tube_covers_its_cross_section() -> None:
    tube = bend_tube(np.array([[0.0, 0.0, -20.0], [0.0, 0.0, 20.0]]), (3.0, 3.0))
    covered = np.zeros((81, 81))
    tube.cover(plane(), covered)
    # Pi 3² = 28.27 mm².
    assert covered.sum() * 0.25 == pytest.approx(28.27, rel=0.03)
    assert covered.max() == 1.0


def test_a_tube_leaves_distant_planes_alone() -> None:
    tube = bend_tube(np.array([[0.0, 0.0, -20.0], [0.0, 0.0, 20.0]]), (3.0, 3.0))
    covered = np.zeros((81, 81))
    tube.cover(plane(z=30.0), covered)
    assert not covered.any()


def test_a_bent_tube_meets_its_waypoints() -> None:
    waypoints = np.array([[0.0, 0.0, 0.0], [10.0, 5.0, 0.0], [20.0, 0.0, 8.0]])
    tube = bend_tube(waypoints, (2.0, 1.0))
    for waypoint in waypoints:
        assert np.linalg.norm(tube.points - waypoint, axis=1).min() < 0.3
    assert (tube.radii[0], tube.radii[-1]) == (2.0, 1.0)


@given(numbers, numbers, st.floats(0.1, 30.0))
def test_a_union_is_nowhere_smaller_than_its_parts(
    first: float, second: float, width_mm: float
) -> None:
    joined = float(smooth_union(np.array(first), np.array(second), width_mm))
    assert joined <= min(first, second) + 1e-9
    # The rounding of a crease adds a quarter of its width at most.
    assert joined >= min(first, second) - width_mm / 4.0 - 1e-9


@given(st.floats(-20.0, 20.0), st.floats(0.0, 15.0), st.integers(1, 30))
def test_between_finds_the_centres_within_reach(middle: float, reach_mm: float, count: int) -> None:
    centres = np.linspace(0.0, count - 1.0, count) * 0.75 - 4.0
    inside = np.abs(centres[between(centres, middle, reach_mm)] - middle)
    expected = np.count_nonzero(np.abs(centres - middle) <= reach_mm)
    assert (inside <= reach_mm + 1e-9).all()
    assert abs(inside.size - expected) <= np.isclose(np.abs(centres - middle), reach_mm).sum()


@pytest.mark.parametrize("z", [-0.8, 0.0, 0.9, 2.4])
def test_a_tube_covers_what_each_of_its_balls_covers(z: float) -> None:
    # Down, far along the plane and up again: two short runs of balls or a long one, by height.
    waypoints = np.array(
        [[-18.0, -9.0, 4.0], [-14.0, -4.0, 0.0], [14.0, 6.0, 0.5], [18.0, 9.0, 4.0]]
    )
    tube = bend_tube(waypoints, (1.0, 0.6), step_mm=0.3)
    at = plane(z=z)
    covered = np.zeros((81, 81))
    tube.cover(at, covered)
    expected = np.zeros((81, 81))
    # Balls half the smallest radius apart, as the tube has them.
    for point, radius in zip(tube.points, tube.radii, strict=True):
        across = (at.x[None, :] - point[0]) ** 2 + (at.y[:, None] - point[1]) ** 2
        ball = coverage(np.sqrt(across + (point[2] - z) ** 2) - radius, 0.5)
        np.maximum(expected, ball, out=expected)
    np.testing.assert_allclose(covered, expected, atol=1e-12)
    assert covered.any()
