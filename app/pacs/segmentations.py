"""DICOM segmentations that others stored, as submitted labels of the images they refer to.

A segmentation becomes a label once, by its SOPInstanceUID, however often it is found; what
this server itself has exported is recognised and never comes back.
"""

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app import inference, label_scores, labels
from app.errors import LabelError, NotFoundError, PacsError
from app.imaging.dicom.header import read_instance
from app.imaging.dicom.json_model import identify
from app.imaging.dicom.segmentation_reader import Segmentation, read_segmentation
from app.intake.image_rows import row_finding
from app.intake.label_check import CheckedLabel
from app.intake.label_versions import put_files
from app.intake.pool import FINAL_TAG
from app.intake.segmentation_label import SEGMENTATION_EXTENSION
from app.pacs.exports import withhold_export
from app.settings import Settings
from app.store.database import Database
from app.store.files import FileStore
from app.store.tables import ExportRow, ImageRow, Json, LabelRow, SegmentationRow

logger = logging.getLogger(__name__)

Origin = Literal["pacs", "stow", "put"]
"""Where a segmentation was found: in the DICOMweb server, or sent to us by a viewer.

``put``: sent as a label file instead of as a DICOM instance.
"""

ANNOTATOR: Final = "dicom-seg"
"""Who made a label whose segmentation names nobody, or was found in the DICOMweb server.

Who is named there did not give that name to us.
"""

_NOT_IN_POOL: Final = "the series it refers to is not in the pool"

NOT_GIVEN: Final = "the DICOMweb server lists it and does not give it"
"""Problem of a segmentation that could not be retrieved while its server answered."""

_RETRY_S: Final = 3600.0
"""Pause before such a segmentation is asked for again."""

_OLDER: Final = "it is older than the current label of the image"

_UNDATED: Final = "it does not tell when it was made, and the image has a label"

_FUTURE: Final = (
    "it tells a time in the future, so that nobody knows whether it is newer than the label of "
    "the image"
)

_CLOCK_TOLERANCE_S: Final = 300.0
"""How far the clock of whoever made a segmentation may be ahead of this one."""

_LEAST_BRIGHT_SHARE: Final = 0.05
"""Least share of the painted calcium that reaches the threshold.

Some viewers write the slices in another order than they say (OHIF 3.10.0-beta.5 does): the
calcium then lies on blood and fat. Nobody paints twenty times too much.
"""

_MISPLACED: Final = (
    "hardly any of its calcium reaches the threshold: its slices are in another order than it "
    "says, or it was drawn on another series"
)

_OTHER_CONTENT: Final = "another segmentation with this SOPInstanceUID is a label already"

_FILE_NAME: Final = "segmentation.dcm"


@dataclass(frozen=True)
class TakenSegmentation:
    """What became of a segmentation.

    Attributes:
        sop_uid: Its SOPInstanceUID.
        image_id: Image that it refers to, or None.
        label: Label that it became or is the export of, or None.
        problem: Why it became none, in one sentence; empty when it did.
        is_new: Whether it became one just now.
    """

    sop_uid: str
    image_id: str | None
    label: LabelRow | None
    problem: str = ""
    is_new: bool = False


def take_segmentation(
    database: Database,
    files: FileStore,
    settings: Settings,
    content: bytes,
    *,
    origin: Origin,
    now: float,
) -> TakenSegmentation:
    """Make a DICOM segmentation a final label of the image whose series it refers to.

    Segments count by name or by code. One from the DICOMweb server takes the place of the
    current label only when it is newer, in whatever order they are found. What cannot be
    a label is noted with the reason and looked at again when it is given again.

    Args:
        database: The application database.
        files: Where the bytes are kept.
        settings: Settings of the deployment.
        content: The DICOM file.
        origin: Where it was found.
        now: Time of submission.

    Raises:
        LabelError: If it is no DICOM segmentation.
        NotFoundError: If its image was removed meanwhile.
    """
    segmentation = read_segmentation(content)
    with database.reading() as session:
        known = _known_label(session, segmentation.sop_uid, origin)
        if known is not None:
            return _repeated(session, known, segmentation, content, origin)
        image = _image_of(session, segmentation)
        if isinstance(image, str):
            return _refuse(database, segmentation, None, image, origin=origin, now=now)
        if reason := _reason_to_keep(session, image, segmentation, origin, now):
            return _refuse(database, segmentation, image, reason, origin=origin, now=now)
        try:
            _check_frame_of_reference(settings, image, segmentation)
            checked = _check(session, image.id, segmentation, content, origin)
        except LabelError as error:
            return _refuse(database, segmentation, image, str(error), origin=origin, now=now)
        prediction = inference.find_prediction(session, image.id)
    scores = label_scores.score_label(settings, files, image, checked, prediction)
    if scores.bright_share is not None and scores.bright_share < _LEAST_BRIGHT_SHARE:
        return _refuse(database, segmentation, image, _MISPLACED, origin=origin, now=now)
    stored = put_files(files, checked)
    with database.writing() as session:
        # Another thread or process may have taken it meanwhile, or a person sent a label.
        known = _known_label(session, segmentation.sop_uid, origin)
        if known is not None:
            return TakenSegmentation(segmentation.sop_uid, known.image_id, known)
        if reason := _reason_to_keep(session, image, segmentation, origin, now):
            _note(session, segmentation.sop_uid, origin, problem=reason, now=now)
            return TakenSegmentation(segmentation.sop_uid, image.id, None, reason)
        label = labels.keep_submission(
            session,
            settings,
            stored,
            image_id=image.id,
            tag=FINAL_TAG,
            annotator=(origin != "pacs" and segmentation.creator) or ANNOTATOR,
            now=now,
        )
        label_scores.keep(label, scores)
        if origin == "pacs":
            withhold_export(session, label)
        _note(session, segmentation.sop_uid, origin, label_id=label.id, now=now)
    return TakenSegmentation(segmentation.sop_uid, image.id, label, is_new=True)


def note_submitted(session: Session, label: LabelRow, content: bytes, *, now: float) -> None:
    """Remember the UID of a final label that was sent as the file of a segmentation.

    The same instance, stored again or found in the DICOMweb server, is no second label then.
    """
    if label.tag != FINAL_TAG or not label.submitted_name.endswith(SEGMENTATION_EXTENSION):
        return
    _note(session, identify(content).sop_instance, "put", label_id=label.id, now=now)


def original_of(session: Session, label: LabelRow) -> SegmentationRow | None:
    """Return the segmentation that a viewer stored and that goes on as it is, or None.

    Its label is exported as that instance and a report: one save is one segmentation there.
    """
    stored = select(SegmentationRow).where(
        SegmentationRow.label_id == label.id, SegmentationRow.origin == "stow"
    )
    return session.scalars(stored).first()


def unknown_segmentations(session: Session, found: Mapping[str, str], *, now: float) -> list[str]:
    """Return which segmentations have to be looked at, in the order given.

    Not those that became labels, were refused, or are our own exports. One that refers to a
    series outside the pool is worth another look once an image of its study has been
    registered, one that the server did not give once an hour.

    Args:
        session: Open session.
        found: StudyInstanceUID by SOPInstanceUID of what a DICOMweb server lists.
        now: Current time.
    """
    newest = select(ImageRow.study_uid, func.max(ImageRow.registered_at))
    registered = dict(session.execute(newest.group_by(ImageRow.study_uid)).all())
    rows = session.execute(
        select(SegmentationRow.sop_uid, SegmentationRow.problem, SegmentationRow.seen_at)
    )

    def is_settled(uid: str, problem: str, seen_at: float) -> bool:
        if problem == _NOT_IN_POOL:
            return seen_at > registered.get(found.get(uid, ""), 0.0)
        # A time from the future is of before the clock was set back.
        return problem != NOT_GIVEN or 0 <= now - seen_at < _RETRY_S

    known = {uid for uid, problem, seen_at in rows if is_settled(uid, problem, seen_at)}
    known |= set(session.scalars(select(ExportRow.seg_uid)))
    return [uid for uid in found if uid not in known]


def _known_label(session: Session, sop_uid: str, origin: Origin) -> LabelRow | None:
    """Find the label that a segmentation became, or that it is the export of.

    A deleted one counts for what is found in the DICOMweb server, which would bring it back,
    and not for what somebody stores now.
    """
    became = select(LabelRow).join(SegmentationRow, SegmentationRow.label_id == LabelRow.id)
    exported = select(LabelRow).join(ExportRow, ExportRow.label_id == LabelRow.id)
    became = became.where(SegmentationRow.sop_uid == sop_uid)
    exported = exported.where(ExportRow.seg_uid == sop_uid)
    if origin == "stow":
        became, exported = (one.where(LabelRow.deleted_at.is_(None)) for one in (became, exported))
    return session.scalars(became).first() or session.scalars(exported).first()


def _repeated(
    session: Session, label: LabelRow, segmentation: Segmentation, content: bytes, origin: Origin
) -> TakenSegmentation:
    """Answer for a known UID: its label, or a refusal where the content is not the label's."""
    known = TakenSegmentation(segmentation.sop_uid, label.image_id, label)
    if _sha256(content) == label.submitted_sha256:
        return known
    # A server may write other bytes for the same instance, and our exports were no SEG here.
    refused = TakenSegmentation(segmentation.sop_uid, label.image_id, None, _OTHER_CONTENT)
    try:
        checked = _check(session, label.image_id, segmentation, content, origin)
    except LabelError:
        return refused
    return known if _sha256(checked.canonical) == label.sha256 else refused


def _check(
    session: Session, image_id: str, segmentation: Segmentation, content: bytes, origin: Origin
) -> CheckedLabel:
    return labels.check_submission(
        session,
        image_id=image_id,
        content=content,
        file_name=_FILE_NAME,
        params=_params(segmentation, origin),
    )


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _image_of(session: Session, segmentation: Segmentation) -> ImageRow | str:
    """Return the image that a segmentation refers to, or why there is none."""
    wanted = select(ImageRow).where(
        ImageRow.series_uid.in_(segmentation.series_uids), ImageRow.removed_at.is_(None)
    )
    found = session.scalars(wanted.order_by(ImageRow.id)).all()
    if not found:
        return _NOT_IN_POOL
    if len(found) > 1:
        return f"it refers to {len(found)} images of the pool, expected one"
    return found[0]


def _check_frame_of_reference(
    settings: Settings, image: ImageRow, segmentation: Segmentation
) -> None:
    """Refuse positions that are counted from elsewhere than those of the image.

    Where the series is not at hand its UID and every position still have to agree.
    """
    if image.kind != "dicom" or not segmentation.frame_uid:
        return
    try:
        header = read_instance(row_finding(settings, image).files[0])
    except (NotFoundError, PacsError):
        return
    expected = header.slice.frame_uid if header.slice else ""
    if expected not in ("", segmentation.frame_uid):
        raise LabelError("the segmentation has another frame of reference than its series")


def _params(segmentation: Segmentation, origin: Origin) -> Json:
    said = {"sop_instance_uid": segmentation.sop_uid, "origin": origin}
    moment = {"made_at": segmentation.made_at, "made_s": segmentation.made_s}
    return {"segmentation": {**said, **moment}}


def _reason_to_keep(
    session: Session, image: ImageRow, segmentation: Segmentation, origin: Origin, now: float
) -> str:
    """Tell why the current label of an image stays; empty when a segmentation takes its place.

    What was found in the DICOMweb server has to be surely newer. What somebody stores now is.
    """
    current = labels.find_label(session, image.id, FINAL_TAG)
    if origin != "pacs" or current is None:
        return ""
    if segmentation.made_s is None:
        return _UNDATED
    if segmentation.made_s > now + _CLOCK_TOLERANCE_S:
        return _FUTURE
    return _OLDER if segmentation.made_s <= _made_s(session, current) else ""


def _made_s(session: Session, label: LabelRow) -> float:
    """Return when a label was made: submitted, unless it was found in the DICOMweb server."""
    found = select(SegmentationRow.sop_uid).where(
        SegmentationRow.label_id == label.id, SegmentationRow.origin == "pacs"
    )
    said = label.info.get("segmentation")
    if session.scalars(found).first() is None or not isinstance(said, dict):
        return label.created_at
    made_s = said.get("made_s")
    return min(made_s, label.created_at) if isinstance(made_s, float) else label.created_at


def _refuse(
    database: Database,
    segmentation: Segmentation,
    image: ImageRow | None,
    problem: str,
    *,
    origin: Origin,
    now: float,
) -> TakenSegmentation:
    with database.writing() as session:
        _note(session, segmentation.sop_uid, origin, problem=problem, now=now)
    logger.info("segmentation %s became no label: %s", segmentation.sop_uid, problem)
    return TakenSegmentation(segmentation.sop_uid, image.id if image else None, None, problem)


def _note(
    session: Session,
    sop_uid: str,
    origin: Origin,
    *,
    label_id: int | None = None,
    problem: str = "",
    now: float,
) -> None:
    row = SegmentationRow(
        sop_uid=sop_uid, origin=origin, label_id=label_id, problem=problem, seen_at=now
    )
    session.merge(row)
