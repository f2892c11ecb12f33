"""A canvas that tissues are painted on, one over the other."""

import numpy as np

from app.calcium.phantom.geometry import Ellipsoid, Floats, Plane, Tube, coverage


class Canvas:
    """Attenuation of one infinitely thin plane.

    Attributes:
        plane: Pixel centres.
        ripple: Irregularity of outlines, shape (Y, X), about -2 to 2.
        hu: Attenuation, shape (Y, X), in HU.
    """

    def __init__(self, plane: Plane, ripple: Floats, hu: float) -> None:
        """Start with one attenuation everywhere."""
        self.plane = plane
        self.ripple = ripple
        self.hu: Floats = np.full((plane.y.size, plane.x.size), hu)

    def paint(self, distance: Floats, hu: Floats | float, *, ripple_mm: float = 0.0) -> None:
        """Paint the inside of a signed distance (Y, X) over what is there.

        Args:
            distance: Signed distance of each pixel in mm, negative inside.
            hu: Attenuation to paint.
            ripple_mm: How far the outline strays.
        """
        if ripple_mm:
            distance = distance + ripple_mm * self.ripple
        self.blend(coverage(distance, self.plane.pixel_mm), hu)

    def blend(self, covered: Floats, hu: Floats | float) -> None:
        """Replace the covered part (Y, X), 0 to 1, of each pixel."""
        self.hu += covered * (hu - self.hu)

    def paint_ellipsoid(
        self, body: Ellipsoid, hu: float, *, inset_mm: float = 0.0, ripple_mm: float = 0.0
    ) -> None:
        """Paint an ellipsoid, shrunk by ``inset_mm``, over what is there."""
        width, reach = self.plane.pixel_mm, body.reach_mm
        grown = max(0.0, -inset_mm) + width + 3.0 * ripple_mm
        if abs(self.plane.z - body.centre[2]) > reach[2] + grown:
            return
        window = self.plane.window(body.centre, float(reach[:2].max()) + grown)
        part = self.hu[window]
        distance = body.on_plane(self.plane.crop(window))
        distance = distance + (inset_mm + ripple_mm * self.ripple[window])
        part += coverage(distance, width) * (hu - part)

    def paint_tube(self, tube: Tube, hu: float) -> None:
        """Paint a tube over what is there."""
        if np.abs(tube.points[:, 2] - self.plane.z).min() > tube.radii.max() + self.plane.pixel_mm:
            return
        covered = np.zeros_like(self.hu)
        tube.cover(self.plane, covered)
        self.blend(covered, hu)
