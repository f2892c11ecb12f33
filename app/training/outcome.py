"""What a training leaves: a model version, and the decision whether it answers.

Concurrency: each of these is one transaction, and finding its work done already changes
nothing, so a job that runs again after a kill ends as it would have.
"""

import json
import logging
from dataclasses import asdict, dataclass
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from app import jobs, model_versions
from app.background.work import StoppedError, WorkContext
from app.promotion import measures
from app.promotion.gate import Decision, GatePolicy, decide
from app.promotion.intervals import calibration_of
from app.promotion.results import Results
from app.recipes import calcium
from app.settings import Settings
from app.store.tables import JobRow, Json, ModelVersionRow
from app.training.judging import Judgement
from app.training.plan import TrainingPlan
from models.checkpoint import JsonValue
from models.training.trainer import Trainer

logger = logging.getLogger(__name__)

_ACTOR: Final = "worker"
"""Who promotes and keeps back, in the trail of changes."""


@dataclass(frozen=True)
class Outcome:
    """How a training ended.

    Attributes:
        is_promoted: Whether the new version answers.
        reason: Why, in one sentence.
        metrics: Figures on the validation images; empty without any.
    """

    is_promoted: bool
    reason: str
    metrics: Json


def find_version(context: WorkContext, job_id: str) -> ModelVersionRow | None:
    """Return the version that a training has made, or None."""
    with context.database.reading() as session:
        wanted = select(ModelVersionRow).where(ModelVersionRow.job_id == job_id)
        return session.scalars(wanted).first()


def known_outcome(version: ModelVersionRow) -> Outcome | None:
    """Return how the training of a version ended, None while it was not decided."""
    if version.decision is None:
        return None
    metrics: Json = version.card.get("metrics", {})
    return Outcome(bool(version.decision["promote"]), version.reason, metrics)


def add_version(
    context: WorkContext, job: JobRow, trainer: Trainer, plan: TrainingPlan
) -> ModelVersionRow:
    """Write the weights with their card, then the row of a version that waits to be judged."""
    path = model_versions.weights_path(context.settings, job.id)
    path.parent.mkdir(parents=True, exist_ok=True)
    facts: dict[str, JsonValue] = {
        "job": job.id,
        "code_version": calcium.code_version(),
        "profile": context.settings.profile,
        "seed": context.settings.seed,
        "training_labels": list(plan.training),
        "validation_labels": list(plan.validation),
        "snapshot_sha256": plan.snapshot,
        "start_reason": plan.why,
        "left_out": [asdict(one) for one in plan.left_out],
    }
    digest = trainer.write_checkpoint(path, facts)
    card: Json = json.loads(path.with_suffix(".json").read_text())["facts"]
    with context.database.writing() as session:
        row = ModelVersionRow(
            job_id=job.id,
            parent_id=plan.before,
            sha256=digest,
            card=card,
            label_count=len(plan.training) + len(plan.validation),
            is_active=False,
            reason="waits to be judged",
            created_at=context.clock(),
        )
        session.add(row)
        session.flush()
    return row


def settle(
    context: WorkContext,
    job: JobRow,
    plan: TrainingPlan,
    version: ModelVersionRow,
    champion_id: int | None,
    judgement: Judgement,
) -> Outcome | None:
    """Decide, and promote the version or keep it back, in one transaction.

    Returns:
        None when another version answers by now than the one it was measured beside.

    Raises:
        StoppedError: If somebody asked the training to stop before it was decided.
    """
    had_patients = bool(plan.validation) or plan.missing_judges > 0
    champion, left_out = judgement.champion, judgement.left_out + plan.missing_judges
    decision = decide(
        champion,
        judgement.challenger,
        gate_policy(context.settings, has_patients=had_patients),
        champion_id=champion_id,
        left_out=left_out,
        problem=judgement.problem,
    )
    with context.database.writing() as session:
        model_versions.hold(session)
        row = model_versions.get_version(session, version.id)
        known = known_outcome(row)
        if known is not None:
            return known
        active = model_versions.active(session)
        if (active.id if active else None) != champion_id:
            return None
        if jobs.is_cancel_requested(session, job.id):
            raise StoppedError
        metrics = _keep_figures(context.settings, row, judgement.challenger)
        if active is not None and champion is not None:
            active.calibration = calibration_of(champion, context.settings)
        _keep_decision(row, decision, left_out, plan, now=context.clock())
        _carry_out(session, context.settings, row, decision, now=context.clock())
        for line in filter(None, (plan.told_left_out, decision.reason)):
            jobs.report(session, job.id, 1.0, line)
    logger.info("model version %s: %s", row.id, decision.reason)
    return Outcome(decision.promote, decision.reason, metrics)


def gate_policy(settings: Settings, *, has_patients: bool) -> GatePolicy:
    """Return the gate of a deployment; it is off where no patient is for validation."""
    return GatePolicy(
        patients=settings.gate_patients,
        margin=settings.gate_margin,
        confidence=settings.gate_confidence,
        unproven=settings.gate_unproven,
        seed=settings.seed,
        is_on=has_patients or settings.validation_percent > 0,
    )


def _keep_figures(settings: Settings, row: ModelVersionRow, results: Results) -> Json:
    """Keep the figures and the calibration with a version."""
    metrics = measures.summary(results)
    row.calibration = calibration_of(results, settings)
    if row.calibration["coverage"] is not None:
        metrics["interval_coverage"] = row.calibration["coverage"]
    row.card = {**row.card, "metrics": metrics}
    return metrics


def _keep_decision(
    row: ModelVersionRow, decision: Decision, left_out: int, plan: TrainingPlan, *, now: float
) -> None:
    row.decision = {
        **decision.to_json(),
        "left_out": left_out,
        "labels_left_out": [asdict(one) for one in plan.left_out],
        "decided_at": now,
    }


def _carry_out(
    session: Session, settings: Settings, row: ModelVersionRow, decision: Decision, *, now: float
) -> None:
    reason = decision.reason
    if decision.promote:
        model_versions.activate(session, settings, row.id, actor=_ACTOR, now=now, reason=reason)
    else:
        model_versions.keep_back(session, row.id, actor=_ACTOR, now=now, reason=reason)
