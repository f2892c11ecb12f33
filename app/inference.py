"""Asking for a prediction without a network at hand: a stored row, or a job for a worker."""

import time
from collections.abc import Callable
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from app import jobs, model_versions
from app.errors import JobFailedError, NotReadyError, StoppingError
from app.store.database import Database
from app.store.tables import JobRow, PredictionRow

_POLL_S: Final = 0.05
"""Pause between two looks at a job; short against the shortest prediction."""


def find_prediction(session: Session, image_id: str) -> PredictionRow | None:
    """Return what the active model version said last about an image, or None.

    There are two where a worker still runs under other settings than the server did.
    """
    version = model_versions.active(session)
    if version is None:
        return None
    wanted = select(PredictionRow).where(
        PredictionRow.image_id == image_id, PredictionRow.model_version_id == version.id
    )
    newest = wanted.order_by(PredictionRow.created_at.desc(), PredictionRow.id.desc())
    return session.scalars(newest.limit(1)).first()


def request_prediction(
    session: Session,
    *,
    now: float,
    image_id: str | None = None,
    session_id: str | None = None,
) -> JobRow:
    """Queue the prediction of an image of the pool or of a temporary session.

    Raises:
        NotReadyError: If no network has been trained yet.
    """
    version = model_versions.active(session)
    if version is None:
        raise NotReadyError("no trained model yet; submit labels and start a training first")
    request = {"model_version": version.id, "image": image_id, "session": session_id}
    return jobs.request_job(session, "predict", request, now=now)


def wait_for(
    database: Database,
    job_id: str,
    timeout_s: float,
    is_stopping: Callable[[], bool] = lambda: False,
) -> JobRow:
    """Wait until a job has ended and return it.

    Blocks the calling thread, never the event loop: call it from a ``def`` endpoint.

    Args:
        database: The application database.
        job_id: The job.
        timeout_s: Longest wait.
        is_stopping: Tells whether this process is about to end: then only for jobs that run.

    Raises:
        StoppingError: If the process is about to end and the job has not begun.
        NotReadyError: If it has not ended within ``timeout_s``.
        JobFailedError: If it failed or was stopped.
    """
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        with database.reading() as session:
            row = jobs.get_job(session, job_id)
        if row.status == "done":
            return row
        if row.status == "queued" and is_stopping():
            raise StoppingError("the server is being stopped; ask again when it is back")
        if row.status not in jobs.OPEN:
            raise JobFailedError(row.details[-1])
        time.sleep(_POLL_S)
    raise NotReadyError(f"job {job_id} has not ended within {timeout_s:g} s; is a worker running?")
