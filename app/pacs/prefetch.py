"""The next samples made ready, so that no annotator waits for a server or a conversion.

What a client downloads of a DICOM series is one file, and a click needs the image as an array;
both are made here before the image is offered, which retrieves the series when it is not in the
cache any more. Then the offer can tell the file's checksum.
"""

import logging
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app import images, jobs, samples
from app.arrays import load_image
from app.background.work import Progress, Units, WorkContext
from app.errors import CacLabelError, ImagingError, NotFoundError, PacsDownError
from app.intake.identifiers import for_log
from app.intake.image_rows import CONVERTED_EXTENSION
from app.intake.pool import get_image
from app.pacs.retrieval import SOURCE, keep_room
from app.store.tables import ImageRow, JobRow, LabelRow, LeaseRow

logger = logging.getLogger(__name__)

_MINUTE_S: Final = 60.0
"""Time after which new scores may have changed which images are next."""

_KEPT_JOBS: Final = 50
"""Ended prefetches that people can still look at."""


class Lookahead:
    """Asks for prefetches; ranks only when a lease, label or image is new, or a minute is over.

    Concurrency: used by the worker's main thread.
    """

    def __init__(self, context: WorkContext) -> None:
        """Look at once when asked for the first time."""
        self._context = context
        self._seen: tuple[object, ...] = ()

    def request_if_needed(self) -> list[str]:
        """Queue a prefetch when one of the next samples is not ready; nothing is leased.

        Returns:
            Ids of the old prefetches whose rows were deleted.
        """
        context, now = self._context, self._context.clock()
        if not context.settings.pacs_prefetch:
            return []
        with context.database.reading() as session:
            seen = _state(session, now)
            is_running = jobs.running(session, "prefetch") is not None
        if is_running or seen == self._seen:
            return []
        self._seen = seen
        wanted = next_unready(context)
        if not wanted:
            return []
        with context.database.writing() as session:
            jobs.request_job(session, "prefetch", {"images": wanted}, now=now)
            return jobs.forget_ended(session, "prefetch", keep=_KEPT_JOBS)


def prefetch(context: WorkContext, job: JobRow) -> Units:
    """Make files and arrays of some images, one a unit; one that cannot be had is left out.

    Raises:
        PacsDownError: At the end, if the server did not give an image.
    """
    wanted: list[str] = job.request["images"]
    ready = 0
    problem: PacsDownError | None = None
    for done, image_id in enumerate(wanted):
        context.turns.give_way()
        try:
            ready += _make_ready(context, image_id)
        except PacsDownError as error:
            # The others may be in the cache, or be given although this one is not.
            problem = error
        yield Progress((done + 1) / len(wanted))
    if context.settings.pacs_url is not None:
        keep_room(context.settings)
    if problem is not None:
        raise problem
    return {"images": len(wanted), "ready": ready}


def next_unready(context: WorkContext) -> list[str]:
    """Return which of the next samples still have to be retrieved or converted."""
    settings = context.settings
    with context.database.reading() as session:
        ids = samples.upcoming(
            session, count=settings.pacs_prefetch, settings=settings, now=context.clock()
        )
        rows = [get_image(session, image_id) for image_id in ids]
    return [row.id for row in rows if not _is_ready(context, row)]


def _is_ready(context: WorkContext, row: ImageRow) -> bool:
    cache = context.settings.cache
    if not row.file_sha256 or not (cache / "arrays" / f"{row.content_sha256}.npy").exists():
        return False
    file = cache / "images" / f"{row.content_sha256}{CONVERTED_EXTENSION}"
    return row.kind != "dicom" or file.exists()


def _state(session: Session, now: float) -> tuple[object, ...]:
    """Return what changes when the ranking does, scores apart: they change all the time."""
    newest = (func.max(LeaseRow.id), func.max(LabelRow.id), func.max(ImageRow.registered_at))
    return (*(session.scalar(select(one)) for one in newest), now // _MINUTE_S)


def _make_ready(context: WorkContext, image_id: str) -> bool:
    """Make file and array of an image; one that its server changed is looked at again by a sync."""
    with context.database.reading() as session:
        try:
            row = get_image(session, image_id)
        except NotFoundError:
            return False
    try:
        images.image_file(context.settings, context.files, row)
        load_image(context.settings, context.files, row)
    except PacsDownError:
        raise
    except CacLabelError as error:
        logger.warning(for_log(image_id, f"image {image_id} was not made ready: {error}"))
        if isinstance(error, ImagingError) and row.source == SOURCE:
            _forget_signature(context, image_id)
        return False
    with context.database.writing() as session:
        get_image(session, image_id).file_sha256 = row.file_sha256
    return True


def _forget_signature(context: WorkContext, image_id: str) -> None:
    with context.database.writing() as session:
        get_image(session, image_id).signature = ""
