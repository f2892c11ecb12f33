"""Draw what clicks are answered: ``python -m tests.server.click_pictures FILE.png``.

The masks are those of a real application for a synthetic patient; nothing is drawn by hand.
"""

import json
import logging
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from fastapi.testclient import TestClient
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import ndimage

from app.calcium.labels import ARTERIES
from app.calcium.phantom import phantom_patient
from app.imaging.labelmap import read_label_map
from app.imaging.volume import Volume
from app.imaging.volume_writer import write_volume
from app.settings import Settings
from server.main import create_app

_SIZE: Final = (256, 256, 40)
"""Voxels along (X, Y, Z) of the synthetic patient."""

_WINDOW_HU: Final = (-200.0, 500.0)

_HALF_MM: Final = 26.0
"""Half the side of a picture."""


@dataclass(frozen=True)
class Shown:
    """A picture: what was clicked, and what came back."""

    title: str
    click: tuple[int, int, int]


def main(target: Path) -> None:
    """Make the picture."""
    logging.disable()
    phantom = phantom_patient(1, 4, _SIZE)
    volume = phantom.volume
    calcium = (phantom.labels > 0) & (phantom.labels <= len(ARTERIES)) & (volume.hu >= 130)
    lesion = _largest(calcium)
    beside = _beside(lesion, volume)
    bone = _bone(volume, lesion[0])
    pictures = [
        Shown("before: a click on a plaque", lesion),
        Shown("after: its island, in this artery", lesion),
        Shown("a click 2 mm beside: the same island", beside),
        Shown("a click on bone: nothing is filled", bone),
    ]
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(data=Path(folder) / "data")
        with TestClient(create_app(settings)) as client:
            path = Path(folder) / "patient.nii.gz"
            write_volume(path, volume)
            files = {"file": (path.name, path.read_bytes())}
            client.put("/datastore/?image=patient", files=files).raise_for_status()
            answers = [_answer(client, shown, Path(folder)) for shown in pictures]
    figure = Figure(figsize=(13.2, 3.9), layout="constrained")
    for number, (axes, shown, (mask, table)) in enumerate(
        zip(figure.subplots(1, len(pictures)), pictures, answers, strict=True)
    ):
        _draw(axes, volume, shown, mask if number else None, table if number else {})
    figure.savefig(target, dpi=110)


def _largest(calcium: NDArray[np.bool_]) -> tuple[int, int, int]:
    """Return a voxel (z, y, x) in the middle of the largest lesion's largest slice."""
    parts, count = ndimage.label(calcium, np.ones((3, 3, 3)))
    sizes = ndimage.sum_labels(calcium, parts, range(1, count + 1))
    part = parts == 1 + int(np.argmax(sizes))
    z = int(part.sum(axis=(1, 2)).argmax())
    depth = ndimage.distance_transform_edt(part[z])
    y, x = (int(index) for index in np.unravel_index(depth.argmax(), depth.shape))
    return z, y, x


def _beside(lesion: tuple[int, int, int], volume: Volume) -> tuple[int, int, int]:
    """Return the nearest voxel that is 2 mm away from every candidate of the slice."""
    z, y, x = lesion
    spacing = volume.spacing_mm[1:]
    distance = ndimage.distance_transform_edt(volume.hu[z] < 130, sampling=spacing)
    rows, columns = np.nonzero((distance > 1.7) & (distance <= 2.3))
    nearest = np.hypot((rows - y) * spacing[0], (columns - x) * spacing[1]).argmin()
    return z, int(rows[nearest]), int(columns[nearest])


def _bone(volume: Volume, z: int) -> tuple[int, int, int]:
    """Return the middle of the thickest bone of a slice."""
    depth = ndimage.distance_transform_edt(volume.hu[z] >= 130)
    y, x = (int(index) for index in np.unravel_index(depth.argmax(), depth.shape))
    return z, y, x


def _answer(client: TestClient, shown: Shown, folder: Path) -> tuple[NDArray[Any], Any]:
    params = {"label": "LAD", "foreground": [list(shown.click[::-1])], "background": []}
    address = "/infer/lesion_click?image=patient&output="
    data = {"params": json.dumps(params)}
    (folder / "mask.nrrd").write_bytes(client.post(address + "image", data=data).content)
    mask = read_label_map(folder / "mask.nrrd").array
    return mask, client.post(address + "json", data=data).json()


def _draw(axes: Axes, volume: Volume, shown: Shown, mask: NDArray[Any] | None, table: Any) -> None:
    z, y, x = shown.click
    row_mm, column_mm = volume.spacing_mm[1:]
    low, high = _WINDOW_HU
    axes.imshow(volume.hu[z], cmap="gray", vmin=low, vmax=high, aspect=row_mm / column_mm)
    if mask is not None and mask[z].any():
        filled = np.ma.masked_equal(mask[z], 0)
        axes.imshow(filled, cmap="autumn", alpha=0.75, vmin=0, vmax=2, aspect=row_mm / column_mm)
    axes.plot([x], [y], "+", color="#3dff8a", markersize=13, markeredgewidth=1.6)
    axes.set_xlim(x - _HALF_MM / column_mm, x + _HALF_MM / column_mm)
    axes.set_ylim(y + _HALF_MM / row_mm, y - _HALF_MM / row_mm)
    axes.set_axis_off()
    axes.set_title(shown.title, fontsize=10)
    if table:
        calcium = table["calcium"]
        text = (
            f"Agatston {calcium['agatston']:.0f}, {calcium['volume_mm3']:.0f} mm³, "
            f"peak {calcium['peak_hu']} HU"
            if "peak_hu" in calcium
            else "“what is here is larger than any lesion …”"
        )
        axes.text(0.5, -0.04, text, transform=axes.transAxes, ha="center", va="top", fontsize=9)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
