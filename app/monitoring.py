"""What the database knows of the deployment, in counts: for who watches over it, not for people.

No figure names an image, a patient or a user. Every query is answered by an index, or reads a
bounded number of rows.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.background.presence import known_workers
from app.integrity.damage import damaged_count
from app.model_versions import active
from app.sampling.progress import coverage
from app.settings import Settings
from app.store.tables import (
    ImageRow,
    JobRow,
    LabelRow,
    LeaseRow,
    ModelVersionRow,
    PredictionRow,
    QuarantineRow,
)

_LAST_PREDICTIONS: Final = 100
"""Predictions whose mean time is told; all of them would be a look at every row."""


@dataclass(frozen=True)
class Observation:
    """The deployment at one moment.

    Attributes:
        jobs: Number of jobs by kind and state.
        oldest_queued_s: Age of the oldest queued job, by kind; kinds without one are missing.
        prediction_s: Mean seconds of a volume in the last predictions; None without any.
        training_s: Seconds of the last training for each labeled volume it learned from, the
            judging included; None without any.
        model_version: Number of the version that answers; 0 without one.
        images: Images of the pool.
        labeled: Those with a final label.
        unlabeled: Those without one.
        scored: Those of ``unlabeled`` that the active version has scored.
        labels_by_people: Label versions that a person made.
        labels_by_models: Label versions that were predictions.
        leases: Samples that lie with clients.
        live_workers: Workers that gave a sign of life lately.
        quarantined: Files and folders that are not trusted, damaged ones left out.
        damaged: Stored files that are damaged or lost.
        free_bytes: Room on the disk of the data folder.
    """

    jobs: Mapping[tuple[str, str], int]
    oldest_queued_s: Mapping[str, float]
    prediction_s: float | None
    training_s: float | None
    model_version: int
    images: int
    labeled: int
    unlabeled: int
    scored: int
    labels_by_people: int
    labels_by_models: int
    leases: int
    live_workers: int
    quarantined: int
    damaged: int
    free_bytes: int


def observe(session: Session, settings: Settings, *, now: float) -> Observation:
    """Look at the deployment, in milliseconds once the pool has been loaded."""
    version, covered = active(session), coverage(session, settings)
    present = select(func.count()).select_from(ImageRow).where(ImageRow.missing_since.is_(None))
    images = session.scalar(present) or 0
    by_people, by_models = _labels(session)
    damaged = damaged_count(session)
    quarantined = session.scalar(select(func.count()).select_from(QuarantineRow)) or 0
    return Observation(
        jobs=_jobs(session),
        oldest_queued_s=_oldest_queued(session, now),
        prediction_s=_prediction_s(session),
        training_s=_training_s(session),
        model_version=version.id if version is not None else 0,
        images=images,
        # Counting the labels of images that are there takes four times as long as all the rest.
        labeled=max(images - covered.images, 0),
        unlabeled=covered.images,
        scored=covered.scored,
        labels_by_people=by_people,
        labels_by_models=by_models,
        leases=_leases(session, now),
        live_workers=sum(worker.is_alive for worker in known_workers(session, now=now)),
        quarantined=quarantined - damaged,
        damaged=damaged,
        free_bytes=shutil.disk_usage(settings.data).free,
    )


def _jobs(session: Session) -> dict[tuple[str, str], int]:
    counted = select(JobRow.kind, JobRow.status, func.count()).group_by(JobRow.kind, JobRow.status)
    return {(kind, status): count for kind, status, count in session.execute(counted)}


def _oldest_queued(session: Session, now: float) -> dict[str, float]:
    oldest = (
        select(JobRow.kind, func.min(JobRow.created_at))
        .where(JobRow.status == "queued")
        .group_by(JobRow.kind)
    )
    # A clock that was set back makes nothing younger than new.
    return {kind: max(now - created_at, 0.0) for kind, created_at in session.execute(oldest)}


def _prediction_s(session: Session) -> float | None:
    last = select(PredictionRow.seconds).order_by(PredictionRow.id.desc()).limit(_LAST_PREDICTIONS)
    seconds = session.scalars(last).all()
    return sum(seconds) / len(seconds) if seconds else None


def _training_s(session: Session) -> float | None:
    last = session.scalars(
        select(JobRow)
        .where(JobRow.kind == "train", JobRow.status == "done")
        .order_by(JobRow.ended_at.desc())
        .limit(1)
    ).first()
    if last is None or last.started_at is None or last.ended_at is None:
        return None
    version = session.scalars(
        select(ModelVersionRow).where(ModelVersionRow.job_id == last.id)
    ).first()
    learned_from = len(version.card.get("training_labels", [])) if version is not None else 0
    return (last.ended_at - last.started_at) / learned_from if learned_from else None


def _labels(session: Session) -> tuple[int, int]:
    is_by_model = LabelRow.annotator == ""
    counted = select(is_by_model, func.count()).where(LabelRow.deleted_at.is_(None))
    counts = {bool(by_model): n for by_model, n in session.execute(counted.group_by(is_by_model))}
    return counts.get(False, 0), counts.get(True, 0)


def _leases(session: Session, now: float) -> int:
    is_open = LeaseRow.released_at.is_(None) & (LeaseRow.expires_at > now)
    return session.scalar(select(func.count()).select_from(LeaseRow).where(is_open)) or 0
