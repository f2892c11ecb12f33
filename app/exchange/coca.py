"""The COCA data set: gated scans with contours, non-gated scans with scores."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from app.errors import ImagingError, InvalidInputError, LabelError
from app.exchange.arrivals import ForeignImage, ForeignLabel, Taken, take
from app.exchange.coca_contours import Contour, check_place, contour_mask, read_contours
from app.exchange.coca_scores import REFERENCE_KEY, read_reference_scores
from app.exchange.data_folder import DataFolder
from app.exchange.importing import Case
from app.imaging.scan import find_images, read_finding
from app.imaging.volume import Volume
from app.store.files import file_sha256
from app.store.tables import Json

_GATED: Final = "Gated_release_final"
_PATIENTS: Final = "patient"
_CONTOURS: Final = "calcium_xml"
_NON_GATED: Final = "deidentified_nongated"
_SCORES: Final = "scores.xlsx"

_ANNOTATOR: Final = "coca"
"""Annotator of the labels; the data set does not say who drew them."""


def find_cases(folder: Path) -> list[Case]:
    """List the cases of a COCA folder, or of its gated or non-gated part.

    Raises:
        InvalidInputError: If it holds neither part.
    """
    gated = next((part for part in (folder / _GATED, folder) if (part / _PATIENTS).is_dir()), None)
    non_gated = _non_gated_folder(folder)
    if gated is None and non_gated is None:
        raise InvalidInputError(
            f"expected {_GATED}/{_PATIENTS} and {_GATED}/{_CONTOURS}, or {_NON_GATED} with "
            f"{_SCORES}, in the folder"
        )
    cases: list[Case] = []
    if gated is not None:
        cases += _gated_cases(gated)
    if non_gated is not None:
        cases += _non_gated_cases(non_gated, folder)
    return cases


def _non_gated_folder(folder: Path) -> Path | None:
    if (folder / _NON_GATED).is_dir():
        return folder / _NON_GATED
    is_part = (folder / _SCORES).is_file() and not (folder / _GATED).is_dir()
    return folder if is_part else None


def _gated_cases(part: Path) -> list[Case]:
    patients = {path.name: path for path in _folders(part / _PATIENTS)}
    contours = {path.stem: path for path in (part / _CONTOURS).glob("*.xml")}
    return [
        GatedCase(number, patients.get(number), contours.get(number))
        for number in sorted(patients | contours, key=_by_number)
    ]


def _non_gated_cases(part: Path, folder: Path) -> list[Case]:
    table = next((path for path in (part / _SCORES, folder / _SCORES) if path.is_file()), None)
    scores = {} if table is None else read_reference_scores(table)
    patients = sorted(_folders(part), key=lambda path: _by_number(path.name))
    return [NonGatedCase(path.name, path, scores) for path in patients]


def _folders(parent: Path) -> list[Path]:
    return [path for path in parent.iterdir() if path.is_dir() and not path.name.startswith(".")]


def _by_number(name: str) -> tuple[int, str]:
    """Sort 2 before 10."""
    return (int(name) if name.isdecimal() else 0, name)


@dataclass(frozen=True)
class GatedCase:
    """A gated scan; without contours it goes in unlabeled, because nobody says it has none.

    Attributes:
        number: Number of the patient in the data set.
        folder: Folder of the patient, or None.
        contours: File of contours, or None.
    """

    number: str
    folder: Path | None
    contours: Path | None

    @property
    def name(self) -> str:
        """Name of the case."""
        return f"gated {self.number}"

    def take(self, data: DataFolder) -> Taken:
        """Take the scan in, with its contours as final label."""
        if self.folder is None:
            raise ImagingError("the contours have no scan")
        volumes = read_series_below(self.folder)
        if self.contours is None:
            return take(data, _image(_only(volumes), self.name))
        contours = read_contours(self.contours)
        if not contours:
            raise LabelError("every contour is empty")
        volume = _fitting(volumes, contours)
        info: Json = {"source": "COCA", "contours_sha256": file_sha256(self.contours)}
        label = ForeignLabel(contour_mask(contours, volume), _ANNOTATOR, info)
        return take(data, _image(volume, self.name), label)


@dataclass(frozen=True)
class NonGatedCase:
    """A non-gated scan with its reference scores.

    Attributes:
        number: Number of the patient in the data set.
        folder: Folder of the patient.
        scores: Reference scores by key; the key of a patient ends in A.
    """

    number: str
    folder: Path
    scores: dict[str, Json | None]

    @property
    def name(self) -> str:
        """Name of the case."""
        return f"non-gated {self.number}"

    def take(self, data: DataFolder) -> Taken:
        """Take the scan in, with its reference scores."""
        key = f"{self.number}A"
        if key in self.scores and self.scores[key] is None:
            raise InvalidInputError(f"{_SCORES} has no single complete row of scores for {key}")
        scores = self.scores.get(key)
        reference = None if scores is None else {REFERENCE_KEY: scores}
        return take(data, _image(_only(read_series_below(self.folder)), self.name), None, reference)


def read_series_below(folder: Path) -> list[Volume]:
    """Read every sound CT series below a folder.

    Raises:
        ImagingError: If there is none; the message says what is wrong with the first.
    """
    findings = [finding for finding in find_images(folder) if finding.kind == "dicom"]
    sound = [finding for finding in findings if finding.problem is None]
    if not sound:
        problem = findings[0].problem if findings else None
        raise ImagingError(problem or "the folder holds no DICOM series")
    return [read_finding(finding) for finding in sound]


def _only(volumes: Sequence[Volume]) -> Volume:
    if len(volumes) != 1:
        raise ImagingError(f"expected one CT series, got {len(volumes)}")
    return volumes[0]


def _fitting(volumes: Sequence[Volume], contours: Sequence[Contour]) -> Volume:
    """Return the one scan that contours were drawn on."""
    problem, fitting = None, []
    for volume in volumes:
        try:
            check_place(contours, volume.grid)
            fitting.append(volume)
        except LabelError as error:
            problem = error
    if problem is not None and not fitting:
        raise problem
    return _only(fitting)


def _image(volume: Volume, patient: str) -> ForeignImage:
    # The folder is the patient: what the headers say was made up when names were removed.
    return ForeignImage(
        volume,
        volume.identifiers.series_uid,
        patient=f"COCA {patient}",
        regroups=True,
        info={"dataset": "COCA", "case": patient},
        is_name_unique=True,
    )
