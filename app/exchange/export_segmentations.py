"""DICOM segmentations of the labels of DICOM series, ``<id>.v<version>.dcm``."""

from app import images
from app.exchange.data_folder import DataFolder
from app.exchange.exporting import stored_label
from app.exchange.target import Target
from app.imaging.dicom.segmentation import write_segmentation
from app.intake.image_rows import row_finding
from app.pacs.export_job import derivation_of
from app.store.tables import ImageRow, LabelRow


class SegmentationExporter:
    """Writes one segmentation per label."""

    def __init__(self, data: DataFolder, target: Target) -> None:
        """Remember where from and where to."""
        self._data = data
        self._target = target

    def export(self, image: ImageRow, label: LabelRow) -> str:
        """Write the segmentation; images that are no DICOM series are left out.

        A label that speaks of calcium and has no voxels says that there is none, and is written.
        """
        if image.kind != "dicom":
            return "left out, no DICOM series"
        mask = stored_label(self._data, image, label)
        if not mask.any() and not label.covers_calcium:
            return "left out, no voxel to show"
        # Decoded for its check: the series must be the one that the label was drawn on.
        images.open_volume(self._data.settings, self._data.files, image)
        files = row_finding(self._data.settings, image).files
        with self._data.database.reading() as session:
            derivation = derivation_of(session, label)
        content = write_segmentation(files, mask, derivation)
        return self._target.add_bytes(f"{image.id}.v{label.version}.dcm", content)

    def finish(self) -> None:
        """Write nothing more."""
