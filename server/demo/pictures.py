"""Slices with overlays: what the scanner saw, what the oracle says, what the model says."""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Final

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from app.calcium.labels import ARTERIES, CALCIUM_LABELS
from server.demo.comparison import Scan

_WINDOW_HU: Final = (-160.0, 360.0)
"""Attenuation from black to white: soft tissue in the middle, calcium at the top."""

_COLORS: Final = {"LM": "#f2c230", "LAD": "#ff5a4e", "LCX": "#38b6ff", "RCA": "#4bd28f"}

_REGION_ALPHA: Final = 0.28
_SIDE_IN: Final = 2.75
"""Side of a slice in inches."""

_DPI: Final = 110


@dataclass(frozen=True, eq=False)
class Panel:
    """One picture of a row.

    Attributes:
        title: Text above it.
        scan: Volume and the labels drawn over it.
        is_overlaid: Whether the labels are drawn.
    """

    title: str
    scan: Scan
    is_overlaid: bool = True


def best_slice(scans: Sequence[Scan]) -> int:
    """Return the slice with most calcium in the first scan that has any, else the middle one."""
    for scan in scans:
        per_slice = scan.calcium.sum(axis=(1, 2))
        if per_slice.any():
            return int(per_slice.argmax())
    return int(scans[0].hu.shape[0]) // 2


def draw_row(panels: Sequence[Panel], slice_index: int) -> bytes:
    """Draw one slice of several panels side by side with a legend; returns a PNG."""
    with mpl.rc_context({"font.size": 9}):
        figure = Figure(figsize=(_SIDE_IN * len(panels), _SIDE_IN + 0.55), layout="constrained")
        for axes, panel in zip(
            figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True
        ):
            _draw(axes, panel, slice_index)
        patches = [Patch(color=_COLORS[artery], label=artery) for artery in ARTERIES]
        patches.append(Patch(color="#999999", alpha=_REGION_ALPHA, label="region (pale)"))
        figure.legend(handles=patches, loc="outside lower center", ncols=5, frameon=False)
        buffer = BytesIO()
        figure.savefig(buffer, format="png", dpi=_DPI)
        return buffer.getvalue()


def _draw(axes: Axes, panel: Panel, slice_index: int) -> None:
    hu = panel.scan.hu[slice_index]
    _, height_mm, width_mm = panel.scan.spacing_mm
    low, high = _WINDOW_HU
    # Axial arrays grow to the back and to the left, which is how radiologists look at them.
    aspect = height_mm / width_mm
    axes.imshow(hu, cmap="gray", vmin=low, vmax=high, aspect=aspect, interpolation="nearest")
    if panel.is_overlaid:
        colors = overlay(panel.scan.labels[slice_index], panel.scan.calcium[slice_index])
        axes.imshow(colors, aspect=aspect, interpolation="nearest")
    axes.set_title(panel.title)
    axes.set_axis_off()


def overlay(labels: NDArray[np.uint8], calcium: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Color a label map: calcium opaque, regions pale, everything else clear.

    Args:
        labels: Canonical label values, shape (Y, X).
        calcium: Voxels that count as calcium, shape (Y, X).

    Returns:
        Red, green, blue and opacity from 0 to 1, shape (Y, X, 4).
    """
    image = np.zeros((*labels.shape, 4))
    for artery, value in CALCIUM_LABELS.items():
        color = mpl.colors.to_rgb(_COLORS[artery])
        region = labels == value + len(CALCIUM_LABELS)
        image[region] = (*color, _REGION_ALPHA)
        image[(labels == value) & calcium] = (*color, 1.0)
    return image
