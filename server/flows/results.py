"""Getting a prediction for a client who waits: a stored one at once, else by a worker.

Concurrency: asking and waiting use transactions of their own, because a worker sees a job
only after it has been committed. Endpoints that come here must be ``def``: they block.
"""

import time
from dataclasses import dataclass

from sqlalchemy.orm import Session

from app import images, inference, sessions
from app.calcium.table import calcium_table
from app.errors import InvalidInputError, JobFailedError
from app.promotion.intervals import score_interval
from app.store.tables import JobRow, Json, PredictionRow
from server.dependencies import Services
from server.flows.waiting import run_and_wait


@dataclass(frozen=True)
class Result:
    """A prediction as an answer needs it.

    Attributes:
        image_id: The image of the pool; empty for the image of a session.
        sha256: Name of the canonical label map in the file store.
        calcium: Calcium table with the distribution of the samples and the calibrated interval.
        infer_s: Seconds the network took, perhaps long ago.
        total_s: Seconds this request took.
    """

    image_id: str
    sha256: str
    calcium: Json
    infer_s: float
    total_s: float


def predict(services: Services, *, image_id: str, session_id: str, now: float) -> Result:
    """Return the prediction of a session's image, else of an image of the pool.

    Raises:
        InvalidInputError: If neither was named.
        NotFoundError: If there is no such session or image.
        NotReadyError: If there is no model yet, or no worker answered in time.
        JobFailedError: If the image could not be predicted.
    """
    started = time.monotonic()
    if session_id:
        found = _of_session(services, session_id, now)
    elif image_id:
        found = _of_image(services, image_id, now)
    else:
        raise InvalidInputError("name an image or a session, or send an image as file")
    table = {**found.table(), "interval": _interval(services, found)}
    of_pool = "" if session_id else image_id
    return Result(of_pool, found.sha256, table, found.seconds, time.monotonic() - started)


@dataclass(frozen=True)
class _Found:
    """A prediction of the pool or of a session."""

    model_version: int
    sha256: str
    scores: Json
    agatston_samples: list[list[float]]
    lesion_share: float | None
    region_share: float | None
    seconds: float

    def table(self) -> Json:
        return calcium_table(
            self.scores,
            self.agatston_samples,
            lesion_share=self.lesion_share,
            region_share=self.region_share,
        )


def _interval(services: Services, found: _Found) -> Json:
    with services.database.reading() as session:
        return score_interval(
            session,
            services.settings,
            found.model_version,
            agatston=found.scores["total"]["agatston"],
            agatston_samples=found.agatston_samples,
        )


def _of_session(services: Services, session_id: str, now: float) -> _Found:
    def start(session: Session) -> JobRow:
        sessions.touch(session, session_id, now=now)
        return inference.request_prediction(session, session_id=session_id, now=now)

    done = run_and_wait(services, start, services.settings.infer_timeout_s)
    result = done.result
    return _Found(
        done.request["model_version"],
        result["sha256"],
        result["scores"],
        result["agatston_samples"],
        # A job that an earlier version ran told no shares.
        result.get("lesion_share"),
        result.get("region_share"),
        result["seconds"],
    )


def _of_image(services: Services, image_id: str, now: float) -> _Found:
    with services.database.reading() as session:
        images.get_image(session, image_id)
        stored = inference.find_prediction(session, image_id)
    if stored is not None:
        return _row(stored)
    done = run_and_wait(
        services,
        lambda session: inference.request_prediction(session, image_id=image_id, now=now),
        services.settings.infer_timeout_s,
    )
    with services.database.reading() as session:
        return _row(_prediction(session, done.result["prediction_id"]))


def _prediction(session: Session, prediction_id: int) -> PredictionRow:
    row = session.get(PredictionRow, prediction_id)
    if row is None:
        raise JobFailedError("the prediction was removed before it could be answered; try again")
    return row


def _row(row: PredictionRow) -> _Found:
    return _Found(
        row.model_version_id,
        row.sha256,
        row.scores,
        row.agatston_samples,
        row.lesion_share,
        row.region_share,
        row.seconds,
    )
