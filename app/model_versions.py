"""Model versions: which networks there are, and which one answers.

A version is never changed and never deleted, so that going back to it takes one transaction.
Which one answers is a stack: promoting puts a version on top, rolling back takes it off.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

import numpy as np
from sqlalchemy import Select, delete, select, update
from sqlalchemy.orm import Session

from app import audit, jobs
from app.errors import ConflictError, NotFoundError, NotReadyError
from app.intake.pool import is_available, labeled_ids
from app.prediction_keys import prediction_key
from app.settings import Settings
from app.store.tables import (
    ActivationRow,
    ImageRow,
    JobRow,
    Json,
    ModelVersionRow,
    PredictionRow,
)
from strategies.aggregation import rank_average

SCORE_CHUNK: Final = 32
"""Images a score job takes at once: small enough to lose little, large enough to cost little."""

_CHUNK_DELAY_S: Final = 1e-5
"""Difference in age of two score jobs of one request; a float of today's time resolves 2e-7 s."""


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
    session: Session,
    settings: Settings,
    version_id: int,
    *,
    actor: str,
    now: float,
    reason: str,
    action: Literal["promote", "rollback"] = "promote",
) -> ModelVersionRow:
    """Let a model version answer from now on, and queue the scoring of the pool by it.

    What it predicted before stays valid. The version before is kept, with its predictions.
    """
    row = get_version(session, version_id)
    before = active(session)
    top = _last_activation(session)
    # A version gone back to lies on what it lay on when it answered before.
    lower = top if action == "promote" else _below(session, _below(session, top))
    below_id = lower.id if lower is not None else None
    session.add(ActivationRow(model_version_id=row.id, below_id=below_id, at=now))
    session.execute(update(ModelVersionRow).values(is_active=False))
    session.flush()
    row.is_active = True
    row.reason = reason
    session.flush()
    change: Json = {"before": before.id if before else None, "after": row.id, "reason": reason}
    audit.record(session, actor, action, f"model version {row.id}", change, now=now)
    request_pool_scoring(session, settings, now=now)
    return row


def keep_back(
    session: Session, version_id: int, *, actor: str, now: float, reason: str
) -> ModelVersionRow:
    """Note that a new model version does not answer, and why; it can be promoted later."""
    row = get_version(session, version_id)
    row.reason = reason
    current = active(session)
    change: Json = {"active": current.id if current else None, "kept": row.id, "reason": reason}
    audit.record(session, actor, "keep back", f"model version {row.id}", change, now=now)
    return row


def hold(session: Session) -> None:
    """Keep others from changing which version answers until the transaction ends.

    SQLite has one writer at a time, so there is nothing to do; PostgreSQL has many.
    """
    session.execute(select(ModelVersionRow.id).order_by(ModelVersionRow.id).with_for_update())


def promote(
    session: Session,
    settings: Settings,
    version_id: int,
    *,
    expected_active: int | None = None,
    actor: str,
    now: float,
    reason: str,
) -> ModelVersionRow:
    """Let a person decide that a model version answers, whatever the gate said.

    Args:
        session: Open transaction.
        settings: Settings of the deployment.
        version_id: Version that shall answer.
        expected_active: Version that the person saw answering; None when they do not say.
        actor: Who decides.
        now: Time of the decision.
        reason: Why, for people.

    Raises:
        NotFoundError: If there is none with this id, or its weights are gone.
        ConflictError: If it answers already, another version answers than is expected, or its
            training has not ended.
    """
    hold(session)
    row = get_version(session, version_id)
    if row.is_active:
        raise ConflictError(f"model version {version_id} answers already")
    if expected_active is not None:
        _check_active(session, expected_active)
    if session.scalars(_open_training(row.job_id)).first() is not None:
        raise ConflictError(f"model version {version_id} is being judged; stop its training first")
    _check_weights(settings, row)
    text = f"promoted by {actor}" + (f": {reason}" if reason else "")
    return activate(session, settings, version_id, actor=actor, now=now, reason=text)


def roll_back(
    session: Session,
    settings: Settings,
    *,
    expected_active: int,
    actor: str,
    now: float,
    reason: str,
) -> ModelVersionRow:
    """Let the model version answer again that answered before the present one.

    Again and again, this goes down to the first version. Asked for twice from the same
    version, as by a double click, it goes down once.

    Args:
        session: Open transaction.
        settings: Settings of the deployment.
        expected_active: Version to go back from.
        actor: Who decides.
        now: Time of the decision.
        reason: Why, for people.

    Raises:
        ConflictError: If another version answers than is expected.
        NotReadyError: If no version answered before.
        NotFoundError: If the weights of the version before are gone.
    """
    hold(session)
    _check_active(session, expected_active)
    current = _last_activation(session)
    below = _below(session, current)
    if current is None or below is None:
        raise NotReadyError("no model version answered before this one")
    row = get_version(session, below.model_version_id)
    _check_weights(settings, row)
    text = f"rolled back by {actor} from version {current.model_version_id}"
    text += f": {reason}" if reason else ""
    return activate(session, settings, row.id, actor=actor, now=now, reason=text, action="rollback")


def weights_path(settings: Settings, job_id: str) -> Path:
    """Return where the weights of the model version trained by a job lie."""
    return settings.data / "models" / f"{job_id}.safetensors"


def ancestors(session: Session, row: ModelVersionRow) -> list[int]:
    """Return the ids of the versions a version came after, the nearest first."""
    found: list[int] = []
    while row.parent_id is not None and row.parent_id not in found:
        found.append(row.parent_id)
        row = get_version(session, row.parent_id)
    return found


def has_answered(session: Session, version_id: int) -> bool:
    """Tell whether a version answers or ever did."""
    wanted = select(ActivationRow.id).where(ActivationRow.model_version_id == version_id)
    return session.scalars(wanted.limit(1)).first() is not None


def request_scoring(session: Session, images: Sequence[str], *, now: float) -> list[JobRow]:
    """Queue score jobs for images that are new, in the order given."""
    version = active(session)
    if version is None:
        return []
    return [
        jobs.request_job(
            session,
            "score",
            {"model_version": version.id, "images": list(images[start : start + SCORE_CHUNK])},
            # Jobs are taken by age: the order must not be left to chance.
            now=now + number * _CHUNK_DELAY_S,
        )
        for number, start in enumerate(range(0, len(images), SCORE_CHUNK))
    ]


def request_pool_scoring(session: Session, settings: Settings, *, now: float) -> list[JobRow]:
    """Queue score jobs for every image the active model version has not scored.

    What it predicted under other settings does not count. Unlabeled images come first, for only
    they are ranked; among them those that the version before would have served first, so that
    the ranking is good again soon.
    """
    version = active(session)
    if version is None:
        return []
    pending = _best_first(session, version.id, prediction_key(settings))
    return request_scoring(session, pending, now=now)


def discard_stale(session: Session, settings: Settings, *, now: float) -> int:
    """Delete the predictions made under other settings and queue them to be made again.

    Runs before a process answers or works, so that no table and no ranking mixes rules.

    Returns:
        Number of predictions deleted.
    """
    stale = delete(PredictionRow).where(PredictionRow.key != prediction_key(settings))
    session.flush()
    count = session.connection().execute(stale).rowcount
    if count:
        request_pool_scoring(session, settings, now=now)
    return count


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


def _last_activation(session: Session) -> ActivationRow | None:
    newest = select(ActivationRow).order_by(ActivationRow.id.desc()).limit(1)
    return session.scalars(newest).first()


def _below(session: Session, activation: ActivationRow | None) -> ActivationRow | None:
    if activation is None or activation.below_id is None:
        return None
    return session.get(ActivationRow, activation.below_id)


def _open_training(job_id: str) -> Select[str]:
    return select(JobRow.id).where(JobRow.id == job_id, JobRow.status.in_(jobs.OPEN))


def _check_active(session: Session, expected: int) -> None:
    current = active(session)
    if current is None:
        raise NotReadyError("no model version answers yet")
    if current.id != expected:
        raise ConflictError(f"model version {current.id} answers, not {expected}; look again")


def _check_weights(settings: Settings, row: ModelVersionRow) -> None:
    if not weights_path(settings, row.job_id).exists():
        raise NotFoundError(f"the weights of model version {row.id} are gone from the data folder")


def _unscored(session: Session, version_id: int, key: str) -> Sequence[str]:
    """Return the images that a version has not scored under a key, unlabeled ones first."""
    scored = select(PredictionRow.image_id).where(
        PredictionRow.model_version_id == version_id, PredictionRow.key == key
    )
    unscored = select(ImageRow.id).where(is_available(), ImageRow.id.not_in(scored))
    is_labeled = ImageRow.id.in_(labeled_ids())
    return session.scalars(unscored.order_by(is_labeled, ImageRow.id)).all()


def _best_first(session: Session, version_id: int, key: str) -> Sequence[str]:
    """Return the images that a version has not scored, by the ranking of the version before."""
    pending = _unscored(session, version_id, key)
    before = session.scalars(
        select(ActivationRow.model_version_id)
        .where(ActivationRow.model_version_id != version_id)
        .order_by(ActivationRow.id.desc())
        .limit(1)
    ).first()
    if before is None or not pending:
        return pending
    places = _places(session, before, key)
    labeled = set(session.scalars(labeled_ids()))
    last = len(places)
    return sorted(pending, key=lambda image: (image in labeled, places.get(image, last)))


def _places(session: Session, version_id: int, key: str) -> dict[str, int]:
    """Return the place of each image in the ranking by a version's uncertainties, 0 first."""
    rows = session.execute(
        select(
            PredictionRow.image_id,
            PredictionRow.clinical_uncertainty,
            PredictionRow.lesion_uncertainty,
            PredictionRow.has_candidates,
        )
        .where(PredictionRow.model_version_id == version_id, PredictionRow.key == key)
        .order_by(PredictionRow.image_id)
    ).all()
    if not rows:
        return {}
    images, clinical, lesion, has_candidates = zip(*rows, strict=True)
    # Ranks, because the two are in different units; without a candidate there is no doubt.
    utilities = rank_average(np.array([clinical, lesion])) * np.array(has_candidates)
    return {images[row]: place for place, row in enumerate(np.argsort(-utilities, kind="stable"))}
