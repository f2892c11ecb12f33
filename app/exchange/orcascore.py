"""The orCaScore data set: MetaImage files of scans and of labels.

``<patient>CTI.mhd`` is the scan for calcium scoring, ``<patient>R.mhd`` its label and
``<patient>CTAI.mhd`` the angiography of the same patient, whose contrast agent no calcium
threshold survives; it is left out. The folders the files lie in do not matter.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.calcium.labels import CALCIUM_LABELS
from app.errors import ImagingError, InvalidInputError, LabelError
from app.exchange.arrivals import ForeignImage, ForeignLabel, Taken, take
from app.exchange.data_folder import DataFolder
from app.exchange.importing import Case
from app.imaging.geometry import match_label_to_grid
from app.imaging.labelmap import read_label_map
from app.imaging.plausibility import check_kvp
from app.imaging.volume import Grid, Identifiers
from app.imaging.volume_file import read_volume_file

_NAME: Final = re.compile(r"(?P<patient>.+?)(?P<part>CTAI|CTI|R)\.mhd", re.IGNORECASE)

_SCAN: Final = "CTI"
_LABEL: Final = "R"

_CODES: Final[Mapping[int, str]] = {1: "LAD", 2: "LCX", 3: "RCA"}
"""Arteries by code; LAD includes the left main there."""

_UNDETERMINED: Final = 4
"""Code of calcium whose artery the experts could not tell."""


def find_cases(folder: Path, *, kvp: float | None = None) -> list[Case]:
    """List the patients of an orCaScore folder.

    Args:
        folder: Folder with the files somewhere below it.
        kvp: Tube voltage of the scans, which the files cannot say.

    Raises:
        InvalidInputError: If there is none.
    """
    if kvp is not None:
        check_kvp(kvp)
    files: dict[str, dict[str, Path]] = {}
    for path in sorted(folder.rglob("*")):
        if (match := _NAME.fullmatch(path.name)) and not path.name.startswith("."):
            files.setdefault(match["patient"], {})[match["part"].upper()] = path
    cases: list[Case] = [
        OrcascoreCase(patient, parts.get(_SCAN), parts.get(_LABEL), kvp)
        for patient, parts in sorted(files.items())
        if _SCAN in parts or _LABEL in parts
    ]
    if not cases:
        raise InvalidInputError("expected files like TRV1P1CTI.mhd and TRV1P1R.mhd in the folder")
    return cases


@dataclass(frozen=True)
class OrcascoreCase:
    """One patient.

    Attributes:
        patient: Name of the patient in the data set.
        scan: File of the scan, or None.
        label: File of the label, or None for test patients.
        kvp: Tube voltage of the scan in kV, or None.
    """

    patient: str
    scan: Path | None
    label: Path | None
    kvp: float | None

    @property
    def name(self) -> str:
        """Name of the case."""
        return self.patient

    def take(self, data: DataFolder) -> Taken:
        """Take the scan in, with its label as final label."""
        if self.scan is None:
            raise ImagingError("the label has no scan")
        volume = read_volume_file(self.scan)
        volume = replace(volume, kvp=self.kvp, identifiers=Identifiers(self.patient, modality="CT"))
        info = {"dataset": "orCaScore", "case": self.patient}
        image = ForeignImage(volume, self.scan.stem, patient=f"orCaScore {self.patient}", info=info)
        if self.label is None:
            return take(data, image)
        says = {"source": "orCaScore", "comment": "LAD includes LM"}
        mask = canonical_mask(self.label, volume.grid)
        return take(data, image, ForeignLabel(mask, "orcascore", says))


def canonical_mask(path: Path, grid: Grid) -> NDArray[np.uint8]:
    """Read a label into canonical values on the grid of its scan, shape (Z, Y, X).

    Raises:
        LabelError: If it cannot be read, lies elsewhere, or holds calcium without an artery or a
            value that is no code.
    """
    label = match_label_to_grid(read_label_map(path), grid).array
    if label.ndim != len(grid.shape):
        raise LabelError(f"expected one layer of labels, got {label.shape[0]}")
    found = {int(value) for value in np.flatnonzero(np.bincount(label.ravel()))} - {0}
    if _UNDETERMINED in found:
        raise LabelError(
            f"{np.count_nonzero(label == _UNDETERMINED)} voxels of calcium belong to no artery "
            f"(code {_UNDETERMINED}), which a label cannot say"
        )
    if not found <= set(_CODES):
        raise LabelError(f"expected codes 0 to {_UNDETERMINED}, got {max(found)}")
    table = np.zeros(max(_CODES) + 1, np.uint8)
    for code, artery in _CODES.items():
        table[code] = CALCIUM_LABELS[artery]
    mask: NDArray[np.uint8] = table[label]
    return mask
