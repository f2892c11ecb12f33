"""When a training starts by itself: enough new labels, and a while of quiet after the last.

A label is new when the last training could not see it as it read its labels; times would not
tell, for what is written down before may be committed later.

Concurrency: every worker looks. The id of the job is made from the new labels, so that two
workers that see the same ones ask for one training.
"""

import uuid
from dataclasses import dataclass
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app import jobs
from app.background.work import WorkContext
from app.intake.pool import FINAL_TAG, labeled_ids
from app.settings import Settings
from app.store.tables import JobRow, Json, LabelRow

_IMPATIENCE: Final = 2
"""After so many times the new labels that are asked for, nobody waits for quiet any more."""

_NAMESPACE: Final = uuid.UUID("6f0c5c0e-6a39-4b0e-9d0b-4f6f6f1d8b52")
"""Makes job ids of label ids."""


_IS_CURRENT: Final = (LabelRow.tag == FINAL_TAG, LabelRow.deleted_at.is_(None))
"""Labels that a training may read."""

_SEEN: Final = "labels_seen"
"""Part of a training's request: first and last of each run of label ids that it could see."""


@dataclass(frozen=True)
class _Fresh:
    """Labels that the last training could not see.

    Attributes:
        labels: Their ids, ascending.
        images: Number of images they are of.
    """

    labels: tuple[int, ...]
    images: int


def request_training_if_due(context: WorkContext) -> bool:
    """Queue a training when it is time for one; True when this call queued it."""
    settings, now = context.settings, context.clock()
    if not settings.train_every:
        return False
    with context.database.reading() as session:
        if _due(session, settings, now) is None:
            return False
    with context.database.writing() as session:
        fresh = _due(session, settings, now)
        return fresh is not None and _request(session, fresh, now)


def note_seen(session: Session, job_id: str) -> None:
    """Note which labels a training can see; call it before it reads them.

    What is committed between the two is counted once more, and nothing is forgotten.
    """
    row = jobs.get_job(session, job_id)
    row.request = {**row.request, _SEEN: _visible(session)}
    session.flush()


def _request(session: Session, fresh: _Fresh, now: float) -> bool:
    request: Json = {"model": "calcium", "options": {}, _SEEN: _visible(session)}
    job_id = str(uuid.uuid5(_NAMESPACE, f"training for labels {fresh.labels}"))
    try:
        with session.begin_nested():
            jobs.request_job(session, "train", request, now=now, job_id=job_id)
    except IntegrityError:
        return False
    return True


def _due(session: Session, settings: Settings, now: float) -> _Fresh | None:
    """Return the new labels when a training is due, else None."""
    if jobs.running(session, "train") is not None:
        return None
    fresh = _fresh_labels(session)
    labeled = labeled_ids().distinct().subquery()
    count = session.scalar(select(func.count()).select_from(labeled)) or 0
    if fresh.images < settings.train_every or count < settings.first_training:
        return None
    newest_at = session.scalars(select(func.max(LabelRow.created_at)).where(*_IS_CURRENT)).one()
    # A label from the future is of before the clock was set back, and no reason to wait for it.
    is_quiet = not 0 <= now - newest_at < settings.train_quiet_seconds
    is_overdue = fresh.images >= _IMPATIENCE * settings.train_every
    return fresh if is_quiet or is_overdue else None


def _fresh_labels(session: Session) -> _Fresh:
    """Return the final labels that the last training which read any could not see."""
    trainings = select(JobRow.request).where(JobRow.kind == "train")
    requests = session.scalars(trainings.order_by(JobRow.created_at.desc()))
    runs: list[list[int]] = next((had[_SEEN] for had in requests if _SEEN in had), [])
    # Nearly always the labels make one run, and the newer ones are few.
    beyond = runs[0][1] if runs and runs[0][0] == 1 else 0
    found = session.execute(
        select(LabelRow.id, LabelRow.image_id)
        .where(*_IS_CURRENT, LabelRow.id > beyond)
        .order_by(LabelRow.id)
    )
    fresh = [
        (label, image)
        for label, image in found
        if not any(first <= label <= last for first, last in runs)
    ]
    return _Fresh(tuple(label for label, _ in fresh), len({image for _, image in fresh}))


def _visible(session: Session) -> list[list[int]]:
    """Return every label that can be seen, as the first and last id of each run, ascending."""
    runs: list[list[int]] = []
    for label in session.scalars(select(LabelRow.id).order_by(LabelRow.id)):
        if runs and label == runs[-1][1] + 1:
            runs[-1][1] = label
        else:
            runs.append([label, label])
    return runs
