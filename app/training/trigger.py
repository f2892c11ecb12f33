"""When a training starts by itself: enough new labels, and a while of quiet after the last.

Concurrency: every worker looks. The id of the job is made from the newest label, so that two
workers that see the same labels ask for one training.
"""

import uuid
from typing import Final

from sqlalchemy import Select, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app import jobs
from app.background.work import WorkContext
from app.intake.pool import FINAL_TAG, labeled_ids
from app.settings import Settings
from app.store.tables import Json, LabelRow

_IMPATIENCE: Final = 2
"""After so many times the new labels that are asked for, nobody waits for quiet any more."""

_NAMESPACE: Final = uuid.UUID("6f0c5c0e-6a39-4b0e-9d0b-4f6f6f1d8b52")
"""Makes job ids of label ids."""


def request_training_if_due(context: WorkContext) -> bool:
    """Queue a training when it is time for one; True when this call queued it."""
    settings, now = context.settings, context.clock()
    if not settings.train_every:
        return False
    with context.database.reading() as session:
        if _due_since(session, settings, now) is None:
            return False
    with context.database.writing() as session:
        newest = _due_since(session, settings, now)
        return newest is not None and _request(session, newest, now)


def _request(session: Session, newest_label: int, now: float) -> bool:
    request: Json = {"model": "calcium", "options": {}}
    job_id = str(uuid.uuid5(_NAMESPACE, f"training up to label {newest_label}"))
    try:
        with session.begin_nested():
            jobs.request_job(session, "train", request, now=now, job_id=job_id)
    except IntegrityError:
        return False
    return True


def _due_since(session: Session, settings: Settings, now: float) -> int | None:
    """Return the id of the newest label when a training is due, else None."""
    if jobs.running(session, "train") is not None:
        return None
    last = jobs.latest(session, "train")
    since = (last.started_at or last.created_at) if last else 0.0
    labeled = labeled_ids().distinct()
    new_count = _count(session, labeled.where(LabelRow.created_at > since))
    if new_count < settings.train_every or _count(session, labeled) < settings.first_training:
        return None
    newest_id, newest_at = session.execute(
        select(func.max(LabelRow.id), func.max(LabelRow.created_at)).where(
            LabelRow.tag == FINAL_TAG, LabelRow.deleted_at.is_(None)
        )
    ).one()
    is_quiet = now - newest_at >= settings.train_quiet_seconds
    is_overdue = new_count >= _IMPATIENCE * settings.train_every
    return int(newest_id) if is_quiet or is_overdue else None


def _count(session: Session, wanted: Select[str]) -> int:
    return session.scalar(select(func.count()).select_from(wanted.subquery())) or 0
