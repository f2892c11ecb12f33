"""The next samples made ready, so that no annotator waits for a server or a conversion.

What a client downloads of a DICOM series is one file; it is made here before the image is
offered, which retrieves the series when it is not in the cache any more. Then the offer can
tell the file's checksum.
"""

import logging
from typing import Final

from app import images, jobs, samples
from app.background.work import Progress, Units, WorkContext
from app.errors import CacLabelError, ImagingError, NotFoundError, PacsDownError
from app.intake.image_rows import CONVERTED_EXTENSION
from app.intake.pool import get_image
from app.pacs.retrieval import SOURCE, keep_room
from app.store.tables import ImageRow, JobRow

logger = logging.getLogger(__name__)

_KEPT_JOBS: Final = 50
"""Ended prefetches that people can still look at."""


def request_prefetch_if_needed(context: WorkContext) -> list[str]:
    """Queue a prefetch when one of the next samples is not ready; nothing is leased.

    Returns:
        Ids of the old prefetches whose rows were deleted.
    """
    wanted = next_unready(context)
    if not wanted:
        return []
    now = context.clock()
    with context.database.writing() as session:
        last = jobs.latest(session, "prefetch")
        if last is not None and _is_enough(context, last, wanted, now=now):
            return []
        jobs.request_job(session, "prefetch", {"images": wanted}, now=now)
        return jobs.forget_ended(session, "prefetch", keep=_KEPT_JOBS)


def prefetch(context: WorkContext, job: JobRow) -> Units:
    """Make the files of some images, one image a unit; one that cannot be read is left out.

    Raises:
        PacsDownError: If an image has to be retrieved and the server cannot be reached.
    """
    wanted: list[str] = job.request["images"]
    ready = 0
    for done, image_id in enumerate(wanted):
        context.turns.give_way()
        ready += _make_ready(context, image_id)
        yield Progress((done + 1) / len(wanted))
    if context.settings.pacs_url is not None:
        keep_room(context.settings)
    return {"images": len(wanted), "ready": ready}


def next_unready(context: WorkContext) -> list[str]:
    """Return which of the next samples still have to be retrieved or converted."""
    settings = context.settings
    if not settings.pacs_prefetch:
        return []
    with context.database.reading() as session:
        ids = samples.upcoming(
            session, count=settings.pacs_prefetch, settings=settings, now=context.clock()
        )
        rows = [get_image(session, image_id) for image_id in ids]
    return [row.id for row in rows if row.kind == "dicom" and not _is_ready(context, row)]


def _is_ready(context: WorkContext, row: ImageRow) -> bool:
    file = context.settings.cache / "images" / f"{row.content_sha256}{CONVERTED_EXTENSION}"
    return bool(row.file_sha256) and file.exists()


def _is_enough(context: WorkContext, last: JobRow, wanted: list[str], *, now: float) -> bool:
    """Tell whether a prefetch still runs, or has just failed to do the same."""
    if last.status in jobs.OPEN:
        return True
    is_old = now - last.created_at >= context.settings.pacs_sync_seconds
    return not is_old and set(wanted) <= set(last.request["images"])


def _make_ready(context: WorkContext, image_id: str) -> bool:
    """Make the file of an image; one that its server changed is looked at again by a sync."""
    with context.database.reading() as session:
        try:
            row = get_image(session, image_id)
        except NotFoundError:
            return False
    try:
        images.image_file(context.settings, context.files, row)
    except PacsDownError:
        raise
    except CacLabelError as error:
        logger.warning("image %s was not made ready: %s", image_id, error)
        if isinstance(error, ImagingError) and row.source == SOURCE:
            _forget_signature(context, image_id)
        return False
    with context.database.writing() as session:
        get_image(session, image_id).file_sha256 = row.file_sha256
    return True


def _forget_signature(context: WorkContext, image_id: str) -> None:
    with context.database.writing() as session:
        get_image(session, image_id).signature = ""
