"""The annotator: asks for samples, looks at the pre-annotation, submits what the oracle says."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from app.calcium.labels import LABELS
from app.errors import JobFailedError
from server.demo.answers import Offer
from server.demo.client import AnnotationClient
from server.demo.comparison import Comparison, compare, load_scan
from server.demo.narration import Narrator
from server.demo.patients import Patient
from server.demo.records import LabelRecord


@dataclass(frozen=True)
class LabelingResult:
    """What one round of labeling brought.

    Attributes:
        labels: Submitted labels.
        skipped: Images that were given back.
    """

    labels: tuple[LabelRecord, ...]
    skipped: int


@dataclass(frozen=True)
class Annotator:
    """Labels images with an oracle's help.

    Attributes:
        client: Way to the server.
        oracle: Patients with known labels, by name.
        folder: Where downloads go.
        narrator: Says what happens.
    """

    client: AnnotationClient
    oracle: Mapping[str, Patient]
    folder: Path
    narrator: Narrator

    def label(self, count: int, strategy: str, *, has_model: bool) -> LabelingResult:
        """Label the next ``count`` images the strategy offers.

        Raises:
            JobFailedError: If the pool has no such number of images left.
        """
        labels: list[LabelRecord] = []
        skipped: list[str] = []
        while len(labels) < count:
            offer = self.client.next_sample(strategy, skip=skipped[-1] if skipped else None)
            if offer is None or offer.id in skipped:
                raise JobFailedError(f"nothing is left to label after {len(labels)} of {count}")
            patient = self.oracle.get(offer.patient)
            if patient is None:
                # A real scan: the oracle knows only what it made itself.
                skipped.append(offer.id)
                continue
            labels.append(self._label(offer, patient, has_model=has_model))
            self.narrator.progress(f"label {len(labels)}/{count}: {_told(labels[-1])}")
        return LabelingResult(tuple(labels), len(skipped))

    def _label(self, offer: Offer, patient: Patient, *, has_model: bool) -> LabelRecord:
        image = self.client.download(offer.id, self.folder / "downloads", checksum=offer.checksum)
        shown = self._pre_annotation(offer, image, patient) if has_model else None
        self.client.submit(offer.id, patient.label, list(LABELS))
        return LabelRecord(offer.id, patient, offer.weight, shown)

    def _pre_annotation(self, offer: Offer, image: Path, patient: Patient) -> Comparison:
        prediction = self.client.infer_image(offer.id, self.folder / "pre-annotations")
        return compare(load_scan(image, patient.label), prediction)


def _told(record: LabelRecord) -> str:
    if record.shown is None:
        return f"{record.patient.patient_id}, drawn from nothing"
    return (
        f"{record.patient.patient_id}, Agatston {record.shown.found_agatston:.0f} proposed,"
        f" {record.shown.true_agatston:.0f} after correcting"
        f" {record.shown.changed_voxels} voxels"
    )
