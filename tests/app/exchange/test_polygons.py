from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from app.exchange.polygons import pixels_inside

SHAPE = (6, 7)

quarters = hnp.arrays(
    np.int64, st.tuples(st.integers(1, 8), st.just(2)), elements=st.integers(-6, 30)
).map(lambda array: array / 4)
"""Corners on quarter pixels, so that outlines often pass through pixels, also outside."""


def is_inside(x: int, y: int, points: np.ndarray) -> bool:
    """Decide slowly and exactly: count the edges right of the pixel, refuse those through it."""
    corners = [(Fraction(a), Fraction(b)) for a, b in points.tolist()]
    crossings = 0
    for (x1, y1), (x2, y2) in zip(corners, corners[1:] + corners[:1], strict=True):
        cross = (x2 - x1) * (y - y1) - (x - x1) * (y2 - y1)
        in_box = min(x1, x2) <= x <= max(x1, x2) and min(y1, y2) <= y <= max(y1, y2)
        if cross == 0 and in_box:
            return False
        if (y1 > y) != (y2 > y):
            crossings += x < x1 + (y - y1) * (x2 - x1) / (y2 - y1)
    return crossings % 2 == 1


@given(quarters)
def test_agrees_with_exact_arithmetic(points: np.ndarray) -> None:
    expected = [[is_inside(x, y, points) for x in range(SHAPE[1])] for y in range(SHAPE[0])]
    np.testing.assert_array_equal(pixels_inside(points, SHAPE), expected)


def test_a_square_holds_the_positions_between_its_sides_only() -> None:
    square = np.array([[1, 1], [4, 1], [4, 4], [1, 4]], np.float64)
    # Columns and rows 1 and 4 lie on the outline, 2 and 3 inside.
    assert sorted(zip(*np.nonzero(pixels_inside(square, SHAPE)), strict=True)) == [
        (2, 2), (2, 3), (3, 2), (3, 3),
    ]  # fmt: skip


def test_fractions_of_pixels_count() -> None:
    square = np.array([[0.9, 1.9], [3.1, 1.9], [3.1, 2.1], [0.9, 2.1]])
    # x is the column and y the row: row 2, columns 1 to 3.
    inside = pixels_inside(square, SHAPE)
    assert sorted(zip(*np.nonzero(inside), strict=True)) == [(2, 1), (2, 2), (2, 3)]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_two_points_enclose_nothing(count: int) -> None:
    points = np.array([[0.5, 0.5], [5.5, 4.5]])[:count]
    assert not pixels_inside(points, SHAPE).any()
