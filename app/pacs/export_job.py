"""The job that stores labels in the DICOMweb server, as a segmentation and a report, one a unit.

An attempt is noted before it begins, so that one that breaks off, whatever the reason, is
repeated after a pause and not at once. UIDs follow from the label: what is stored again
after a kill is the same instances.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from app import images, jobs
from app.arrays import LABEL_EXTENSION
from app.background.work import Progress, Units, WorkContext
from app.calcium.score import CalciumScores, calcium_scores
from app.errors import CacLabelError, LabelError, PacsDownError, PacsRefusedError
from app.imaging.dicom.derivation import Algorithm, Derivation
from app.imaging.dicom.dicomweb import DicomwebServer, dicomweb_server
from app.imaging.dicom.json_model import identify
from app.imaging.dicom.report import write_report
from app.imaging.dicom.segmentation import write_segmentation
from app.imaging.dicom.segmentation_reader import read_segmentation
from app.imaging.geometry import match_label_to_grid
from app.imaging.labelmap import read_label_map
from app.imaging.orientation import to_axial
from app.imaging.volume import Volume
from app.intake.image_rows import row_finding
from app.intake.segmentation_label import segment_name
from app.labels import find_label, submitted_file
from app.pacs import status
from app.pacs.exports import ExportStatus, next_due, pause_s, postpone_due
from app.pacs.segmentations import original_of
from app.store.tables import ExportRow, ImageRow, JobRow, LabelRow, PredictionRow

logger = logging.getLogger(__name__)

_KEPT_JOBS: Final = 50
"""Ended exports that people can still look at."""

_MAX_REFUSALS: Final = 3
"""Refusals after which an export has failed; a server that is down refuses nothing."""

_BROKEN_OFF: Final = "the last attempt broke off"

_NETWORK: Final = "calcium network"
"""Name of the network in segmentations that began as its prediction."""


@dataclass(frozen=True)
class _Order:
    """A label to be exported, and its image.

    Attributes:
        label: The label.
        image: Its image.
        derivation: How the label came about.
        original_uid: SOPInstanceUID of the segmentation that a viewer stored, and that the
            label was made from; empty when it came another way.
    """

    label: LabelRow
    image: ImageRow
    derivation: Derivation
    original_uid: str


@dataclass(frozen=True)
class _Parcel:
    """What is stored of a label: a segmentation, and a report when it has scores.

    Attributes:
        segmentation: As it was stored by a viewer, else as we write it.
        report: Its scores.
    """

    segmentation: bytes | None
    report: bytes | None

    @property
    def instances(self) -> Sequence[bytes]:
        return [content for content in (self.segmentation, self.report) if content is not None]


def request_export_if_due(context: WorkContext) -> list[str]:
    """Queue the storing of labels whose time has come, unless it is queued.

    Returns:
        Ids of the old jobs whose rows were deleted.
    """
    settings, now = context.settings, context.clock()
    if settings.pacs_url is None or not settings.pacs_export:
        return []
    with context.database.reading() as session:
        if next_due(session, now=now) is None or jobs.running(session, "export") is not None:
            return []
    with context.database.writing() as session:
        if jobs.running(session, "export") is not None:
            return []
        jobs.request_job(session, "export", {}, now=now)
        return jobs.forget_ended(session, "export", keep=_KEPT_JOBS)


def export(context: WorkContext, job: JobRow) -> Units:
    """Store every label whose time has come, one a unit."""
    del job
    done = 0
    while (label_id := _begin(context)) is not None:
        outcome = _attempt(context, label_id)
        done += 1
        yield Progress(done / (done + 1), f"label {label_id}: {outcome}")
    return {"attempts": done}


def _begin(context: WorkContext) -> int | None:
    """Take the next export and note the attempt; None when none is due."""
    now = context.clock()
    with context.database.writing() as session:
        row = next_due(session, now=now)
        if row is None:
            return None
        row.attempts += 1
        row.next_at = now + pause_s(row.attempts)
        row.problem = _BROKEN_OFF
        return row.label_id


def _attempt(context: WorkContext, label_id: int) -> ExportStatus:
    """Try to store one label and note how that ended."""
    with context.database.reading() as session:
        order = _order(session, label_id)
        reason = _reason_to_drop(session, order)
    if reason:
        return _end(context, label_id, "dropped", reason)
    try:
        parcel = _pack(context, order)
        if not parcel.instances:
            return _end(context, label_id, "dropped", "it has neither voxels nor scores")
        _note_uids(context, order, parcel)
        _store(context, order, parcel)
    except PacsDownError as error:
        return _wait(context, label_id, str(error))
    except CacLabelError as error:
        return _refused(context, label_id, error)
    return _end(context, label_id, "done", "")


def _order(session: Session, label_id: int) -> _Order:
    label = session.get_one(LabelRow, label_id)
    image = session.get_one(ImageRow, label.image_id)
    original = original_of(session, label)
    return _Order(label, image, derivation_of(session, label), original.sop_uid if original else "")


def derivation_of(session: Session, label: LabelRow) -> Derivation:
    """Return how a label came about, so that every segmentation of it is the same instance."""
    # The time makes the seed different from that of any other deployment.
    seed = f"{label.id} {label.image_id} {label.version} {label.created_at!r} {label.sha256}"
    return Derivation(
        seed,
        label.created_at,
        _algorithm(session, label),
        covers_calcium=label.covers_calcium,
    )


def _algorithm(session: Session, label: LabelRow) -> Algorithm | None:
    """Return the network whose prediction of the image was there when the label was made."""
    shown = select(PredictionRow.model_version_id).where(
        PredictionRow.image_id == label.image_id, PredictionRow.created_at <= label.created_at
    )
    version = session.scalars(shown.order_by(PredictionRow.created_at.desc()).limit(1)).first()
    return None if version is None else Algorithm(_NETWORK, str(version))


def _reason_to_drop(session: Session, order: _Order) -> str:
    if order.image.removed_at is not None:
        return "the image was removed"
    newest = find_label(session, order.image.id, order.label.tag)
    if newest is None or order.label.deleted_at is not None:
        return "the label was deleted"
    return "" if newest.id == order.label.id else "a newer label took its place"


def _pack(context: WorkContext, order: _Order) -> _Parcel:
    # Decoded anew instead of from the cache of arrays: what is stored beside a series must
    # have been drawn on exactly that series, so its hash is checked.
    volume = images.open_volume(context.settings, context.files, order.image)
    series_files = row_finding(context.settings, order.image).files
    stored = read_label_map(context.files.path(order.label.sha256, LABEL_EXTENSION))
    label = match_label_to_grid(stored, volume.grid).array.astype(np.uint8)
    segmentation = report = numbers = None
    if order.original_uid:
        segmentation = submitted_file(context.files, order.label).read_bytes()
        numbers = _segment_numbers(segmentation)
    elif label.any() or order.label.covers_calcium:
        segmentation = write_segmentation(series_files, label, order.derivation)
    if order.label.covers_calcium:
        report = write_report(
            series_files,
            _scores(context, volume, label),
            order.derivation,
            segmentation=segmentation,
            numbers=numbers,
        )
    return _Parcel(segmentation, report)


def _segment_numbers(content: bytes) -> dict[str, int]:
    """Return the segment of each label that has one of its own in a segmentation of others."""
    found: dict[str, list[int]] = {}
    for segment in read_segmentation(content).segments:
        try:
            found.setdefault(segment_name(segment), []).append(segment.number)
        except LabelError:
            # It has no voxels, or the label would have been refused.
            continue
    return {name: numbers[0] for name, numbers in found.items() if len(numbers) == 1}


def _store(context: WorkContext, order: _Order, parcel: _Parcel) -> None:
    """Store a label, without a segmentation that the viewer's request has brought there."""
    server = dicomweb_server(context.settings)
    instances = parcel.instances
    if order.original_uid and _has_instance(server, order.original_uid):
        instances = [content for content in instances if content is not parcel.segmentation]
    if not instances:
        return
    try:
        server.store(instances)
    except PacsRefusedError:
        # Stored by an attempt that broke off, and refused because it is there already.
        uids = [identify(content).sop_instance for content in instances]
        if not all(_has_instance(server, uid) for uid in uids):
            raise


def _has_instance(server: DicomwebServer, sop_uid: str) -> bool:
    try:
        found = server.find_objects({"SOPInstanceUID": sop_uid})
    except PacsRefusedError:
        return False
    # A server that knows no such filter lists others.
    return any(instance.sop_uid == sop_uid for instance in found)


def _scores(context: WorkContext, volume: Volume, label: NDArray[np.uint8]) -> CalciumScores:
    hu, grid = to_axial(volume.hu, volume.grid)
    axial, _ = to_axial(label, volume.grid)
    return calcium_scores(
        hu,
        axial,
        spacing_mm=grid.spacing_mm,
        kvp=volume.kvp,
        rule=context.settings.rule,
        mass_factor=context.settings.mass_factor,
    )


def _note_uids(context: WorkContext, order: _Order, parcel: _Parcel) -> None:
    """Note what is about to be stored, so that it is recognised when it is found there."""
    with context.database.writing() as session:
        row = session.get_one(ExportRow, order.label.id)
        seg_uid = order.original_uid or order.derivation.segmentation_uid
        row.seg_uid = seg_uid if parcel.segmentation else ""
        row.sr_uid = order.derivation.report_uid if parcel.report else ""


def _wait(context: WorkContext, label_id: int, problem: str) -> ExportStatus:
    now = context.clock()
    with context.database.writing() as session:
        row = session.get_one(ExportRow, label_id)
        row.problem = problem
        postpone_due(session, problem=problem, now=now)
        status.note_failure(session, context.settings, problem, now=now)
    return "waiting"


def _refused(context: WorkContext, label_id: int, error: CacLabelError) -> ExportStatus:
    problem, cause = str(error), type(error.__cause__).__name__
    # Only the type of the cause: its message may quote an element that names the patient.
    logger.warning("export of label %d: %s (%s)", label_id, problem, cause)
    with context.database.writing() as session:
        row = session.get_one(ExportRow, label_id)
        row.problem = problem
        row.refusals += 1
        if row.refusals < _MAX_REFUSALS:
            return "waiting"
    return _end(context, label_id, "failed", problem)


def _end(context: WorkContext, label_id: int, outcome: ExportStatus, problem: str) -> ExportStatus:
    now = context.clock()
    with context.database.writing() as session:
        row = session.get_one(ExportRow, label_id)
        row.status, row.problem, row.ended_at = outcome, problem, now
        if outcome == "done":
            status.note_answer(session, context.settings, now=now)
    logger.info("export of label %d: %s %s", label_id, outcome, problem)
    return outcome
