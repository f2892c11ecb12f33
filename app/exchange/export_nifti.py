"""Pairs of image and label as NIfTI: ``images/<id>.nii.gz`` and ``labels/<id>.nii.gz``.

NIfTI has no place for names, so ``labels/<id>.json`` says what the values mean and who drew.
"""

import json
from datetime import UTC, datetime

from app import images
from app.calcium.labels import LABELS
from app.exchange.data_folder import DataFolder
from app.exchange.exporting import stored_label
from app.exchange.target import Target
from app.imaging.labelmap import write_label_map
from app.imaging.volume_writer import write_volume
from app.intake.image_rows import grid_of
from app.store.tables import ImageRow, Json, LabelRow

_EXTENSION = ".nii.gz"


class NiftiExporter:
    """Writes pairs."""

    def __init__(self, data: DataFolder, target: Target) -> None:
        """Remember where from and where to."""
        self._data = data
        self._target = target

    def export(self, image: ImageRow, label: LabelRow) -> str:
        """Write image, label and what its values mean."""
        grid = grid_of(image)
        array = stored_label(self._data, image, label)
        facts = json.dumps(_facts(image, label), indent=2).encode()
        done = {
            add_nifti_image(self._data, self._target, image, f"images/{image.id}{_EXTENSION}"),
            self._target.add(
                f"labels/{image.id}{_EXTENSION}",
                lambda path: write_label_map(path, array, grid, compress=True),
            ),
            self._target.add_bytes(f"labels/{image.id}.json", facts),
        }
        return "written" if "written" in done else "unchanged"

    def finish(self) -> None:
        """Write nothing more."""


def add_nifti_image(data: DataFolder, target: Target, image: ImageRow, name: str) -> str:
    """Add an image as NIfTI; its own file where it is one."""
    if image.name.endswith(_EXTENSION):
        return target.add_copy(name, images.image_file(data.settings, data.files, image))
    volume = images.open_volume(data.settings, data.files, image)
    return target.add(name, lambda path: write_volume(path, volume))


def timestamp(seconds: float) -> str:
    """Return a time in ISO 8601, UTC, to the second."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _facts(image: ImageRow, label: LabelRow) -> Json:
    return {
        "image": image.id,
        "tag": label.tag,
        "version": label.version,
        "annotator": label.annotator,
        "submitted": timestamp(label.created_at),
        "covers_calcium": label.covers_calcium,
        "covers_regions": label.covers_regions,
        "kvp": image.kvp,
        "labels": LABELS,
    }
