"""The studies folder of a MONAI Label server, taken in from elsewhere.

Images lie flat in the folder, labels below ``labels/<tag>`` under the name of their image, and
``datastore_v2.json`` says who drew them and what their values mean.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from app.errors import CacLabelError, InvalidInputError
from app.exchange.arrivals import ForeignImage, Taken, take
from app.exchange.data_folder import DataFolder
from app.exchange.importing import Case
from app.imaging.volume import Identifiers, Volume
from app.imaging.volume_file import file_kind, read_volume_file
from app.intake.identifiers import IMAGE_EXTENSIONS, split_extension
from app.intake.monailabel_folder import (
    INDEX_NAME,
    LABELS_FOLDER,
    FoundLabel,
    import_label,
    label_files,
    read_index,
)
from app.store.tables import Json

PATIENT_GROUP_KEY: Final = "patient_group"
"""Key of an image's info under which an export says which images are of one patient."""

_RESERVED: Final = ("name", "ts", "strategy", PATIENT_GROUP_KEY)
"""Keys of an image's info that are not taken over."""

_IDENTIFIERS: Final[Mapping[str, str]] = {
    "PatientID": "patient_id",
    "StudyInstanceUID": "study_uid",
    "SeriesInstanceUID": "series_uid",
    "StudyDate": "study_date",
    "StudyTime": "study_time",
    "Modality": "modality",
}
"""What the index knows of images that came from a DICOMweb server."""

_UNKNOWN: Final = "UNK"
"""What MONAI Label writes there for what it does not know."""


def find_cases(folder: Path) -> list[Case]:
    """List the images of a MONAI Label folder, and the labels that have none.

    Raises:
        InvalidInputError: If it holds no image, or its index is broken: without it nobody knows
            what the values of the labels mean.
    """
    index = read_index(folder)
    if index is None:
        raise InvalidInputError(f"{INDEX_NAME} cannot be read")
    labels: dict[str, list[FoundLabel]] = {}
    if (folder / LABELS_FOLDER).is_dir():
        for found in label_files(folder, index):
            labels.setdefault(found.stem, []).append(found)
    paths = [path for path in sorted(folder.iterdir()) if _is_image(path)]
    if not paths:
        raise InvalidInputError("expected images in the folder")
    cases: list[Case] = [
        MonailabelCase(path, _info(index, stem), tuple(labels.pop(stem, ())))
        for path in paths
        for stem, _ in [split_extension(path.name, IMAGE_EXTENSIONS)]
    ]
    orphans = [found for group in labels.values() for found in group]
    return cases + [OrphanLabel(f"{LABELS_FOLDER}/{it.tag}/{it.path.name}") for it in orphans]


def _is_image(path: Path) -> bool:
    is_label = path.name.endswith(".seg.nrrd")
    is_hidden = path.name.startswith(".")
    return path.is_file() and file_kind(path) is not None and not is_label and not is_hidden


def _info(index: Mapping[str, Json], stem: str) -> Json:
    """Look up the info of an image; whatever is not as it should be counts as nothing said."""
    place: object = index
    for key in (stem, "image", "info"):
        place = place.get(key) if isinstance(place, dict) else None
    return dict(place) if isinstance(place, dict) else {}


@dataclass(frozen=True)
class OrphanLabel:
    """A label whose image is not there.

    Attributes:
        name: Path of the label in the folder.
    """

    name: str

    def take(self, data: DataFolder) -> Taken:
        """Refuse it."""
        del data
        raise InvalidInputError("the label has no image")


@dataclass(frozen=True)
class MonailabelCase:
    """One image with its labels.

    Attributes:
        path: File of the image.
        info: What the index says about it.
        labels: Its labels.
    """

    path: Path
    info: Json
    labels: Sequence[FoundLabel]

    @property
    def name(self) -> str:
        """Name of the case."""
        return split_extension(self.path.name, IMAGE_EXTENSIONS)[0]

    def take(self, data: DataFolder) -> Taken:
        """Take the image in, then each label in a transaction of its own."""
        volume = _with_identifiers(read_volume_file(self.path), self.info)
        facts = {key: value for key, value in self.info.items() if key not in _RESERVED}
        for key in _IDENTIFIERS:
            facts.pop(key, None)
        image = ForeignImage(
            volume,
            self.name,
            patient=self._patient(volume),
            info={**facts, "name": self.path.name},
            file=self.path,
        )
        taken = take(data, image)
        count, problems = 0, []
        for found in self.labels:
            try:
                count += import_label(
                    data.database,
                    data.files,
                    data.settings,
                    taken.image_id,
                    found,
                    now=data.now(),
                )
            except CacLabelError as error:
                problems.append(f"{found.tag}: {error}")
        return replace(taken, new_labels=count, problems=tuple(problems))

    def _patient(self, volume: Volume) -> str:
        return volume.identifiers.patient_id or str(self.info.get(PATIENT_GROUP_KEY, ""))


def _with_identifiers(volume: Volume, info: Json) -> Volume:
    known = {
        field: value
        for key, field in _IDENTIFIERS.items()
        if isinstance(value := info.get(key), str) and value != _UNKNOWN
    }
    return replace(volume, identifiers=Identifiers(**known))
