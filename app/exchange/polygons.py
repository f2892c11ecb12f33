"""Which pixels a contour holds."""

import numpy as np
from numpy.typing import NDArray


def pixels_inside(points: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Mark the pixels whose integer position lies strictly inside a polygon.

    A position on the outline is outside. Where the polygon crosses itself the even-odd rule
    decides. With two points or fewer nothing is inside.

    Args:
        points: Corners (x, y) in pixels, shape (P, 2), x to the right, y downwards; the last is
            joined to the first.
        shape: Rows and columns of the image.

    Returns:
        True inside, shape ``shape``; what lies outside the image is cut off.
    """
    inside = np.zeros(shape, np.bool_)
    on_outline = np.zeros(shape, np.bool_)
    columns = np.arange(shape[1], dtype=np.float64)
    for start, end in zip(points, np.roll(points, -1, axis=0), strict=True):
        lower, upper = (start, end) if start[1] <= end[1] else (end, start)
        rows = _rows_between(lower[1], upper[1], shape[0])
        if rows.size == 0:
            continue
        y = rows[:, None].astype(np.float64)
        run, rise = upper - lower
        # Twice the signed area of the triangle of edge and pixel: 0 on the line of the edge,
        # positive where the edge lies to the right of the pixel.
        side = run * (y - lower[1]) - (columns - lower[0]) * rise
        between = (columns >= min(lower[0], upper[0])) & (columns <= max(lower[0], upper[0]))
        on_outline[rows] |= (side == 0) & between
        # A corner belongs to the edge above it only, so that passing it counts once.
        crosses = y < upper[1]
        inside[rows] ^= crosses & (side > 0)
    return inside & ~on_outline


def _rows_between(first_y: float, last_y: float, height: int) -> NDArray[np.intp]:
    """Return the rows from one y to another, both included, that the image has."""
    first, last = max(int(np.ceil(first_y)), 0), min(int(np.floor(last_y)), height - 1)
    return np.arange(first, last + 1)
