"""STOW-RS: segmentations of known series become labels, and everything goes on to the PACS."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from fastapi.responses import JSONResponse, Response

from app import audit
from app.errors import CacLabelError, ImagingError, PacsError
from app.imaging.dicom.dicomweb import dicomweb_server
from app.imaging.dicom.json_model import InstanceUids, identify
from app.pacs.segmentations import TakenSegmentation, original_of, take_segmentation
from app.settings import Settings
from server.dependencies import Services
from server.dicomweb.forwarding import WADO_ROOT
from server.dicomweb.parts import read_parts
from server.wire.options import DEFAULT_CLIENT

logger = logging.getLogger(__name__)

_PROCESSING_FAILURE: Final = 0x0110
"""FailureReason: the PACS did not keep it."""

_NOT_SUPPORTED: Final = 0x0122
"""FailureReason: objects of this kind are not kept here."""

_MISMATCH: Final = 0xA900
"""FailureReason: it does not fit the study, or the image, that it names."""

_UNREADABLE: Final = 0xC000
"""FailureReason: it cannot be understood."""

_WARNING: Final = 0xB000
"""WarningReason: kept, but not by everybody."""

_HEADER_CHARACTERS: Final = 300
"""Longest remark in a header of the answer."""


@dataclass(frozen=True)
class Outcome:
    """What became of one instance.

    Attributes:
        uids: Which one it is, as far as it could be read.
        failure: FailureReason; 0 when it was kept.
        remark: What went wrong in one sentence, perhaps although it was kept; or empty.
    """

    uids: InstanceUids
    failure: int = 0
    remark: str = ""


def store(
    services: Services, content_type: str, body: bytes, study_uid: str | None, *, now: float
) -> Response:
    """Keep the instances of a STOW-RS request, each for itself.

    Args:
        services: Services of the process.
        content_type: Content-Type of the request.
        body: The whole request body.
        study_uid: The study that all instances must belong to, or None.
        now: Time of the request.

    Raises:
        InvalidInputError: If the body cannot be taken apart.
    """
    parts = read_parts(content_type, body)
    outcomes = [_keep(services, part.content, study_uid, now=now) for part in parts]
    _note_stored(services, outcomes, now=now)
    for outcome in outcomes:
        if outcome.remark:
            logger.warning("instance %s: %s", outcome.uids.sop_instance, outcome.remark)
    return _answer(outcomes)


def _note_stored(services: Services, outcomes: Sequence[Outcome], *, now: float) -> None:
    """Write down who stored which instances, here or in the PACS."""
    stored = [outcome.uids.sop_instance for outcome in outcomes if not outcome.failure]
    if stored:
        with services.database.writing() as session:
            for uid in stored:
                audit.record(session, DEFAULT_CLIENT, "store instance", str(uid), {}, now=now)


def _keep(services: Services, content: bytes, study_uid: str | None, *, now: float) -> Outcome:
    try:
        uids = identify(content)
    except ImagingError as error:
        return Outcome(InstanceUids(), _UNREADABLE, str(error))
    if study_uid not in (None, uids.study):
        return Outcome(uids, _MISMATCH, "the instance belongs to another study than the address")
    if uids.is_segmentation:
        return _keep_segmentation(services, uids, content, now=now)
    if services.settings.pacs_url is None:
        return Outcome(
            uids, _NOT_SUPPORTED, "without a PACS this server keeps DICOM segmentations only"
        )
    return _pass_on(services.settings, Outcome(uids), content)


def _keep_segmentation(
    services: Services, uids: InstanceUids, content: bytes, *, now: float
) -> Outcome:
    """Make a label of a segmentation first: no PACS can lose it then."""
    try:
        taken = take_segmentation(
            services.database, services.files, services.settings, content, origin="stow", now=now
        )
    except CacLabelError as error:
        return Outcome(uids, _UNREADABLE, str(error))
    if taken.image_id is not None and taken.label is None:
        # The annotator has to know: kept by the PACS alone it would look like saved.
        return Outcome(uids, _MISMATCH, taken.problem)
    if services.settings.pacs_url is not None and _goes_on(services, taken):
        is_kept = taken.label is not None
        return _pass_on(services.settings, Outcome(uids), content, is_kept=is_kept)
    return Outcome(uids) if taken.label is not None else Outcome(uids, _MISMATCH, taken.problem)


def _goes_on(services: Services, taken: TakenSegmentation) -> bool:
    """Tell whether the instance itself goes to the PACS, and not its label in another one."""
    if taken.label is None or not services.settings.pacs_export:
        return True
    with services.database.reading() as session:
        return original_of(session, taken.label) is not None


def _pass_on(
    settings: Settings, outcome: Outcome, content: bytes, *, is_kept: bool = False
) -> Outcome:
    try:
        dicomweb_server(settings).store([content])
    except PacsError as error:
        if is_kept:
            return replace(outcome, remark=f"kept as a label here, but {error}")
        return replace(outcome, failure=_PROCESSING_FAILURE, remark=str(error))
    return outcome


def _answer(outcomes: Sequence[Outcome]) -> Response:
    """Build the answer of PS3.18 10.5.3: 202 when not all went well, 409 when nothing was kept."""
    kept = [outcome for outcome in outcomes if not outcome.failure]
    failed = [outcome for outcome in outcomes if outcome.failure]
    body: dict[str, Any] = {}
    if kept:
        body["00081190"] = _element("UR", _study_address(kept[0].uids))
        body["00081199"] = _element("SQ", *(_reference(outcome) for outcome in kept))
    if failed:
        body["00081198"] = _element("SQ", *(_reference(outcome) for outcome in failed))
    remarks = sorted({outcome.remark for outcome in outcomes if outcome.remark})
    status = 409 if not kept else 202 if remarks else 200
    answer = JSONResponse(body, status, media_type="application/dicom+json")
    if remarks:
        answer.headers["Warning"] = _warning(remarks)
    return answer


def _reference(outcome: Outcome) -> dict[str, Any]:
    uids = outcome.uids
    reference = {
        "00081150": _element("UI", *filter(None, [uids.sop_class])),
        "00081155": _element("UI", *filter(None, [uids.sop_instance])),
    }
    if outcome.failure:
        return {**reference, "00081197": _element("US", outcome.failure)}
    if outcome.remark:
        reference["00081196"] = _element("US", _WARNING)
    return reference


def _study_address(uids: InstanceUids) -> str:
    return f"{WADO_ROOT}/studies/{uids.study}"


def _element(vr: str, *values: object) -> dict[str, Any]:
    return {"vr": vr, "Value": list(values)}


def _warning(remarks: Sequence[str]) -> str:
    """Put remarks into a Warning header (RFC 7234), the place DICOMweb has for words."""
    text = "; ".join(remarks).replace("\\", "'").replace('"', "'")
    plain = text.encode("ascii", "replace").decode()[:_HEADER_CHARACTERS]
    return f'299 caclabel "{plain}"'
