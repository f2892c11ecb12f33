"""DICOM segmentations of the labels of DICOM series, ``<id>.v<version>.dcm``."""

from app.exchange.data_folder import DataFolder
from app.exchange.exporting import stored_label
from app.exchange.target import Target
from app.imaging.derivation import Derivation
from app.imaging.segmentation import write_segmentation
from app.intake.image_rows import row_finding
from app.store.tables import ImageRow, LabelRow


class SegmentationExporter:
    """Writes one segmentation per label."""

    def __init__(self, data: DataFolder, target: Target) -> None:
        """Remember where from and where to."""
        self._data = data
        self._target = target

    def export(self, image: ImageRow, label: LabelRow) -> str:
        """Write the segmentation; images that are no DICOM series are left out."""
        if image.kind != "dicom":
            return "left out, no DICOM series"
        mask = stored_label(self._data, image, label)
        if not mask.any():
            return "left out, no voxel to show"
        finding = row_finding(self._data.settings, image)
        content = write_segmentation(finding.files, mask, derivation_of(label))
        return self._target.add_bytes(f"{image.id}.v{label.version}.dcm", content)

    def finish(self) -> None:
        """Write nothing more."""


def derivation_of(label: LabelRow) -> Derivation:
    """Return how a label came about; equal labels give equal instances."""
    return Derivation(f"label {label.image_id} {label.sha256}", label.created_at)
