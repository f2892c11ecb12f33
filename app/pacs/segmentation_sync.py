"""Segmentations that others stored on the DICOMweb server, found by one search.

A PACS holds far more studies than the pool: mostly only those of its dates are searched.
"""

import logging
from collections.abc import Iterator

from sqlalchemy import select

from app.background.work import WorkContext
from app.errors import LabelError, NotFoundError, PacsDownError, PacsError
from app.imaging.dicom.dicomweb import DicomwebServer, RemoteInstance
from app.intake.pool import is_available
from app.pacs import status
from app.pacs.retrieval import SOURCE
from app.pacs.segmentations import NOT_GIVEN, take_segmentation, unknown_segmentations
from app.store.tables import ImageRow, SegmentationRow

logger = logging.getLogger(__name__)


def take_segmentations(context: WorkContext, server: DicomwebServer) -> Iterator[bool]:
    """Retrieve the segmentations of our studies that were not looked at yet.

    Args:
        context: The worker's context.
        server: Server to look at.

    Yields:
        After each of them, whether it became a label.

    Raises:
        PacsDownError: If the server stops answering.
    """
    try:
        found = server.find_objects({"Modality": "SEG", **_dates(context)})
    except PacsError as error:
        if isinstance(error, PacsDownError):
            server.check()
        logger.warning("segmentations were not looked for: %s", error)
        return
    for instance in _news(context, found):
        yield _take(context, server, instance)


def _dates(context: WorkContext) -> dict[str, str]:
    """Return the filter for the dates of our studies; none once in an hour.

    The server may know another date of a study than its files, or none: the search without
    the filter finds what was missed.
    """
    with context.database.reading() as session:
        before = status.pacs_status(session, context.settings)
        wanted = select(ImageRow.study_date).where(ImageRow.source == SOURCE, is_available())
        dates = sorted(set(session.scalars(wanted)))
    if status.is_hourly(before, now=context.clock()) or not all(dates):
        return {}
    return {"StudyDate": f"{dates[0]}-{dates[-1]}"} if dates else {}


def _news(context: WorkContext, found: list[RemoteInstance]) -> list[RemoteInstance]:
    """Return the instances of studies with images that have to be looked at."""
    studies = select(ImageRow.study_uid).where(ImageRow.source == SOURCE, is_available())
    with context.database.reading() as session:
        ours = set(session.scalars(studies))
        by_uid = {one.sop_uid: one for one in found if one.study_uid in ours}
        studies_of = {uid: one.study_uid for uid, one in by_uid.items()}
        unknown = unknown_segmentations(session, studies_of, now=context.clock())
        return [by_uid[uid] for uid in unknown]


def _take(context: WorkContext, server: DicomwebServer, instance: RemoteInstance) -> bool:
    try:
        content = server.retrieve_instance(
            instance.study_uid, instance.series_uid, instance.sop_uid
        )
        taken = take_segmentation(
            context.database,
            context.files,
            context.settings,
            content,
            origin="pacs",
            now=context.clock(),
        )
    except LabelError as error:
        _note(context, instance, str(error))
    except NotFoundError as error:
        logger.warning("segmentation %s was not taken: %s", instance.sop_uid, error)
    except PacsError as error:
        if isinstance(error, PacsDownError):
            server.check()
        logger.warning("segmentation %s was not given: %s", instance.sop_uid, error)
        _note(context, instance, NOT_GIVEN)
    else:
        return taken.is_new
    return False


def _note(context: WorkContext, instance: RemoteInstance, problem: str) -> None:
    """Note what cannot be had or read, so that it is not retrieved every minute."""
    row = SegmentationRow(
        sop_uid=instance.sop_uid,
        origin="pacs",
        label_id=None,
        problem=problem,
        seen_at=context.clock(),
    )
    with context.database.writing() as session:
        session.merge(row)
