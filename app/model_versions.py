"""Model versions: which networks there are, and which one answers."""

from collections.abc import Sequence

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app import audit, jobs
from app.errors import NotFoundError
from app.intake.pool import is_available, labeled_ids
from app.store.tables import ImageRow, JobRow, Json, ModelVersionRow, PredictionRow

SCORE_CHUNK = 32
"""Images a score job takes at once: small enough to lose little, large enough to cost little."""


def active(session: Session) -> ModelVersionRow | None:
    """Return the model version that answers, or None before the first training."""
    return session.scalars(select(ModelVersionRow).where(ModelVersionRow.is_active)).first()


def list_versions(session: Session) -> Sequence[ModelVersionRow]:
    """Return every model version, newest first."""
    return session.scalars(select(ModelVersionRow).order_by(ModelVersionRow.id.desc())).all()


def get_version(session: Session, version_id: int) -> ModelVersionRow:
    """Return a model version.

    Raises:
        NotFoundError: If there is none with this id.
    """
    row = session.get(ModelVersionRow, version_id)
    if row is None:
        raise NotFoundError(f"no model version {version_id}")
    return row


def activate(
    session: Session, version_id: int, *, actor: str, now: float, reason: str
) -> ModelVersionRow:
    """Let a model version answer from now on, and queue the scoring of the pool by it."""
    row = get_version(session, version_id)
    before = active(session)
    session.execute(update(ModelVersionRow).values(is_active=False))
    session.flush()
    row.is_active = True
    row.reason = reason
    session.flush()
    change: Json = {"before": before.id if before else None, "after": row.id, "reason": reason}
    audit.record(session, actor, "activate", f"model version {row.id}", change, now=now)
    request_scoring(session, now=now)
    return row


def request_scoring(
    session: Session, *, now: float, images: Sequence[str] | None = None
) -> list[JobRow]:
    """Queue score jobs for images the active model version has not seen.

    Unlabeled images come first: only they are ranked.

    Args:
        session: Open transaction.
        now: Time of the request.
        images: Ids of new images; None: every image that version has not seen.
    """
    version = active(session)
    if version is None:
        return []
    pending = _unscored(session, version.id) if images is None else images
    return [
        jobs.request_job(
            session,
            "score",
            {"model_version": version.id, "images": list(pending[start : start + SCORE_CHUNK])},
            now=now,
        )
        for start in range(0, len(pending), SCORE_CHUNK)
    ]


def coverage(session: Session) -> tuple[int, int]:
    """Count the images that the active model version has scored, and all images."""
    version = active(session)
    images = session.scalar(select(func.count()).select_from(ImageRow).where(is_available())) or 0
    if version is None:
        return 0, images
    return images - len(_unscored(session, version.id)), images


def train_stats(session: Session) -> Json:
    """Return the training figures of ``/info/``: of the running training, else of the last one.

    Only finite numbers: a client that meets anything else locks up.
    """
    job = jobs.running(session, "train") or jobs.latest(session, "train")
    if job is None:
        return {}
    stats: Json = dict(job.result.get("stats", {}))
    if job.started_at is not None:
        stats["start_ts"] = int(job.started_at)
    if job.status == "done" and job.started_at is not None and job.ended_at is not None:
        stats["total_time"] = round(job.ended_at - job.started_at, 1)
    return stats


def _unscored(session: Session, version_id: int) -> Sequence[str]:
    scored = select(PredictionRow.image_id).where(PredictionRow.model_version_id == version_id)
    unscored = select(ImageRow.id).where(is_available(), ImageRow.id.not_in(scored))
    is_labeled = ImageRow.id.in_(labeled_ids())
    return session.scalars(unscored.order_by(is_labeled, ImageRow.id)).all()
