"""Images that somebody has just opened, made ready for the first click by a worker.

Decoding a series takes a second or more, which nobody shall wait for at a click. Between
opening an image and clicking in it a person looks at it, and that is time enough.
"""

from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from app import jobs
from app.arrays import is_kept
from app.intake.pool import is_available
from app.settings import Settings
from app.store.database import Database
from app.store.tables import ImageRow, JobRow

_KIND: Final = "prefetch"

_MOST_WAITING: Final = 8
"""Opened images that wait to be made ready; a script that downloads the pool clicks nowhere."""


def prepare_image(database: Database, settings: Settings, image_id: str, *, now: float) -> None:
    """Ask a worker to make an opened image ready; nothing when it is, or waits to be."""
    with database.reading() as session:
        row = session.get(ImageRow, image_id)
        is_wanted = row is not None and not is_kept(settings, row)
        is_wanted = is_wanted and _has_room(session, image_id)
    if is_wanted:
        with database.writing() as session:
            # Somebody else may have opened it meanwhile.
            if _has_room(session, image_id):
                jobs.request_job(session, _KIND, {"images": [image_id]}, now=now)


def prepare_series(database: Database, settings: Settings, series_uid: str, *, now: float) -> None:
    """Ask for the images of a series that a viewer has opened, where the pool has it."""
    with database.reading() as session:
        wanted = select(ImageRow.id).where(ImageRow.series_uid == series_uid, is_available())
        image_ids = session.scalars(wanted).all()
    for image_id in image_ids:
        prepare_image(database, settings, image_id, now=now)


def _has_room(session: Session, image_id: str) -> bool:
    """Tell whether an image neither waits already nor has to be left out."""
    waiting = select(JobRow).where(JobRow.kind == _KIND, JobRow.status.in_(jobs.OPEN))
    open_jobs = session.scalars(waiting).all()
    return len(open_jobs) < _MOST_WAITING and all(
        image_id not in job.request["images"] for job in open_jobs
    )
