"""A studies folder that a MONAI Label server opens as its own.

Images lie flat, the newest version of each label below ``labels/<tag>``, and
``datastore_v2.json`` names them. Labels are written with the names they speak about only, so
that taking them in again does not make a label without calcium say that there is none.
"""

import json
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app import images
from app.calcium.labels import LABELS
from app.errors import ConflictError
from app.exchange.data_folder import DataFolder
from app.exchange.export_nifti import add_nifti_image
from app.exchange.exporting import stored_label
from app.exchange.monailabel import PATIENT_GROUP_KEY
from app.exchange.target import Target
from app.imaging.labelmap import write_label_map
from app.intake.image_rows import CONVERTED_EXTENSION, grid_of
from app.intake.label_check import CANONICAL_EXTENSION
from app.intake.monailabel_folder import INDEX_NAME, LABELS_FOLDER, read_index
from app.store.tables import ImageRow, Json, LabelRow

_OPENED: Final = (".nii.gz", ".nii", ".nrrd")
"""Endings of volumes that MONAI Label takes for images."""

_STUDY_KEYS: Final = {
    "Modality": "modality",
    "StudyInstanceUID": "study_uid",
    "SeriesInstanceUID": "series_uid",
}
"""What is told of every image, under the names that MONAI Label has for it."""

_PATIENT_KEYS: Final = {
    "PatientID": "patient_id",
    "StudyDate": "study_date",
    "StudyTime": "study_time",
}
"""What is told only when asked for."""


class MonailabelExporter:
    """Writes a studies folder and its index."""

    def __init__(self, data: DataFolder, target: Target, *, with_patient_ids: bool = False) -> None:
        """Read the index of a folder that is added to.

        Raises:
            ConflictError: If it has one that cannot be read.
        """
        index = read_index(target.root)
        if index is None:
            raise ConflictError(f"{INDEX_NAME} in the folder cannot be read")
        self._data = data
        self._target = target
        self._with_patient_ids = with_patient_ids
        self._objects: Json = dict(index)
        with data.database.reading() as session:
            self._groups = patient_groups(session)

    def export(self, image: ImageRow, label: LabelRow) -> str:
        """Write image and label, and remember them for the index."""
        extension = image.name.removeprefix(image.id)
        array, grid = stored_label(self._data, image, label), grid_of(image)
        names = spoken_names(label)
        file_name = f"{image.id}{CANONICAL_EXTENSION}"
        done = {
            self._add_image(image, extension),
            self._target.add(
                f"{LABELS_FOLDER}/{label.tag}/{file_name}",
                lambda path: write_label_map(path, array, grid, compress=True, names=names),
            ),
        }
        entry = self._objects.setdefault(image.id, {"image": {}, "labels": {}})
        if not entry["image"]:
            is_opened = extension in _OPENED
            shown = extension if is_opened else CONVERTED_EXTENSION
            entry["image"] = {"ext": shown, "info": self._image_info(image, shown)}
        entry["labels"][label.tag] = {"ext": CANONICAL_EXTENSION, "info": _label_info(label, names)}
        return "written" if "written" in done else "unchanged"

    def finish(self) -> None:
        """Write the index, with what it said before."""
        index = {
            "name": "caclabel",
            "description": "Coronary calcium CT",
            "images_dir": ".",
            "labels_dir": LABELS_FOLDER,
            "objects": self._objects,
        }
        self._target.replace(INDEX_NAME, json.dumps(index, indent=2).encode())

    def _add_image(self, image: ImageRow, extension: str) -> str:
        if extension not in _OPENED:
            name = f"{image.id}{CONVERTED_EXTENSION}"
            return add_nifti_image(self._data, self._target, image, name)
        own = images.image_file(self._data.settings, self._data.files, image)
        return self._target.add_copy(image.name, own)

    def _image_info(self, image: ImageRow, extension: str) -> Json:
        keys = {**_STUDY_KEYS, **(_PATIENT_KEYS if self._with_patient_ids else {})}
        known = {key: getattr(image, column) for key, column in keys.items()}
        return {
            **image.info,
            **{key: value for key, value in known.items() if value},
            PATIENT_GROUP_KEY: self._groups[image.patient_key],
            "ts": int(image.registered_at),
            "name": f"{image.id}{extension}",
        }


def patient_groups(session: Session) -> dict[str, str]:
    """Name every patient by one of the own images, which tells nothing about who it is."""
    named = select(ImageRow.patient_key, func.min(ImageRow.id)).group_by(ImageRow.patient_key)
    return {key: str(image_id) for key, image_id in session.execute(named)}


def spoken_names(label: LabelRow) -> dict[str, int]:
    """Return the names that a label speaks about, drawn or not, with their values."""
    listed = label.info.get("label_info")
    if not isinstance(listed, list):
        return LABELS
    said = {entry.get("name") for entry in listed if isinstance(entry, dict)}
    return {name: value for name, value in LABELS.items() if name in said}


def _label_info(label: LabelRow, names: dict[str, int]) -> Json:
    return {
        **label.info,
        "label_info": [{"name": name, "idx": value} for name, value in names.items()],
        "client_id": label.annotator,
        "version": label.version,
        "ts": int(label.created_at),
        "name": f"{label.image_id}{CANONICAL_EXTENSION}",
    }
