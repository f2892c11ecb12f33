"""Real CT volumes that the demonstration shows beside the synthetic ones, where they are present.

Nobody has labeled their coronary arteries, so they are predicted and shown, never submitted.
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from app.imaging.scan import find_images

_DEFAULT_FOLDER: Final = Path(__file__).resolve().parents[3] / "shared" / "data"
"""Beside the checkout of the project."""

_SETS: Final = {
    "qrm-phantom": ("QRM thorax phantom with calcium inserts", 21),
    "heart-crops": ("cropped contrast-enhanced heart CT", None),
}
"""Folders of real data: what they show, and the slice worth seeing where it is known.

The inserts of the QRM phantom lie in slices 21 to 23, counted from the feet.
"""


@dataclass(frozen=True)
class RealScan:
    """A real volume.

    Attributes:
        image_id: Its id in the pool.
        title: What it shows.
        source: Its file, or the folder of its DICOM series.
        slice_index: Slice worth seeing, counted from the feet; None where it is not known.
    """

    image_id: str
    title: str
    source: Path
    slice_index: int | None = None


def find_real_scans() -> list[RealScan]:
    """Return the real volumes at hand; none is no error."""
    folder = Path(os.environ.get("CACLABEL_TEST_DATA", _DEFAULT_FOLDER))
    return [
        RealScan(finding.series_uid or _stem(finding.path), title, finding.path, slice_index)
        for name, (title, slice_index) in _SETS.items()
        if (folder / name).is_dir()
        for finding in find_images(folder / name)
        if finding.problem is None
    ]


def add_to_studies(scans: list[RealScan], studies: Path) -> None:
    """Copy real volumes into the studies folder, as a scanner or a person would."""
    for scan in scans:
        target = studies / scan.source.name
        if scan.source.is_dir():
            shutil.copytree(scan.source, target)
        else:
            shutil.copy2(scan.source, target)


def _stem(path: Path) -> str:
    return path.name.split(".")[0]
