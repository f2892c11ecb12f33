"""Training a model version: choose the labels, train by epochs, judge, activate.

All current labels take part every time. Which labels those are is written down before the
first epoch, so that a training that was killed goes on with the same ones.
"""

import json
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from app import jobs, model_versions
from app.arrays import load_image, load_label
from app.background.work import Progress, StoppedError, Units, WorkContext
from app.errors import InvalidInputError, NotReadyError
from app.evaluation import Agreement, EvaluationCase, judge
from app.intake.pool import current_labels
from app.predictions import checkpoint_path, load_predictor
from app.recipes import calcium
from app.store.files import write_durably
from app.store.tables import ImageRow, JobRow, Json, LabelRow, ModelVersionRow
from models.checkpoint import JsonValue
from models.training.trainer import EpochReport, Trainer

logger = logging.getLogger(__name__)

_HASH_BUCKETS: Final = 100
"""A patient falls into one of so many buckets by hash; the lowest are for validation."""


@dataclass(frozen=True)
class Snapshot:
    """The label versions one training uses, by row id.

    Attributes:
        training: Labels that the network is fitted to.
        validation: Labels of the patients set aside for good.
    """

    training: tuple[int, ...]
    validation: tuple[int, ...]


def is_validation_patient(patient_key: str, *, percent: int) -> bool:
    """Tell whether a patient belongs to the validation set; never changes for a patient."""
    bucket = int(patient_key[:8], 16) % _HASH_BUCKETS
    return bucket < percent


def train(context: WorkContext, job: JobRow) -> Units:
    """Train, judge and activate a model version; one epoch a unit."""
    folder = context.settings.runs / job.id
    snapshot = _snapshot(context, folder)
    count = f"{len(snapshot.training)} labels, {len(snapshot.validation)} for validation"
    yield Progress(0.0, f"preparing {count}")
    training = [case.training for case in _load_cases(context, snapshot.training)]
    validation = _load_cases(context, snapshot.validation)
    config = calcium.trainer_config(
        context.settings, max_epochs=_max_epochs(job), device=context.device
    )
    network = calcium.network_config(context.settings)
    held_out = [case.training for case in validation]
    trainer = Trainer(network, config, training, held_out, folder)
    yield Progress(0.0, _resume(trainer))
    while not trainer.is_finished:
        report = _run_epoch(context, job, trainer)
        _note_stats(context, job, report, config.epochs)
        yield Progress(report.epoch / config.epochs, _epoch_line(report, config.epochs))
    agreement = _write_version(context, job, trainer, snapshot, validation)
    version = _activate(context, job, snapshot, agreement)
    return {
        "model_version": version,
        "metrics": agreement.to_json() if agreement else {},
        "stats": _final_stats(context, job, agreement),
    }


def choose_labels(session: Session, *, validation_percent: int, at_least: int) -> Snapshot:
    """Split the current labels by patient.

    Raises:
        NotReadyError: If there are too few labels, or none outside the validation patients.
    """
    pairs = current_labels(session)
    if len(pairs) < at_least:
        raise NotReadyError(
            f"training needs at least {at_least} labeled images, there are {len(pairs)}"
        )
    held_out = [
        is_validation_patient(image.patient_key, percent=validation_percent) for _, image in pairs
    ]
    chosen = Snapshot(
        tuple(label.id for (label, _), out in zip(pairs, held_out, strict=True) if not out),
        tuple(label.id for (label, _), out in zip(pairs, held_out, strict=True) if out),
    )
    if not chosen.training:
        raise NotReadyError("every labeled patient belongs to the validation set; label another")
    return chosen


def _snapshot(context: WorkContext, folder: Path) -> Snapshot:
    """Return the labels chosen when the training first started."""
    path = folder / "snapshot.json"
    if path.exists():
        values = json.loads(path.read_text())
        return Snapshot(tuple(values["training"]), tuple(values["validation"]))
    settings = context.settings
    with context.database.reading() as session:
        snapshot = choose_labels(
            session,
            validation_percent=settings.validation_percent,
            at_least=settings.first_training,
        )
    values = {"training": snapshot.training, "validation": snapshot.validation}
    write_durably(path, json.dumps(values).encode())
    return snapshot


def _load_cases(context: WorkContext, label_ids: Sequence[int]) -> list[EvaluationCase]:
    with context.database.reading() as session:
        wanted = select(LabelRow, ImageRow).join(ImageRow).where(LabelRow.id.in_(label_ids))
        rows = [(label, image) for label, image in session.execute(wanted.order_by(LabelRow.id))]
    return [_load_case(context, label, image) for label, image in rows]


def _load_case(context: WorkContext, label: LabelRow, row: ImageRow) -> EvaluationCase:
    image = load_image(context.settings, context.files, row)
    labeled = load_label(context.files, image, label.sha256)
    training = calcium.training_case(
        row.id,
        image,
        labeled,
        covers_calcium=label.covers_calcium,
        covers_regions=label.covers_regions,
    )
    return EvaluationCase(image, labeled, training)


def _resume(trainer: Trainer) -> str:
    """Go on from the last epoch kept; a state of other code or settings is of no use any more."""
    try:
        resumed = trainer.resume()
    except ValueError as error:
        return f"starting over: {error}"
    return f"going on after epoch {trainer.epoch}" if resumed else "starting"


def _max_epochs(job: JobRow) -> int:
    wanted = job.request.get("options", {}).get("max_epochs", 0)
    try:
        return max(int(float(wanted)), 0)
    except (TypeError, ValueError, OverflowError):
        raise InvalidInputError(f"expected a number of epochs, got {wanted!r}") from None


def _run_epoch(context: WorkContext, job: JobRow, trainer: Trainer) -> EpochReport:
    should_stop = context.stop_check(job.id)

    def stop_or_give_way() -> bool:
        context.turns.give_way()
        return should_stop()

    report = trainer.run_epoch(lambda _: None, stop_or_give_way)
    if report.is_canceled:
        raise StoppedError
    return report


def _epoch_line(report: EpochReport, epochs: int) -> str:
    parts = [f"epoch {report.epoch}/{epochs}", f"{report.seconds:.1f} s"]
    if report.training_loss is not None:
        parts.append(f"loss {report.training_loss:.3f}")
    if report.validation is not None:
        metrics = report.validation.metrics.items()
        parts += [f"{task} {value:.3f}" for task, value in metrics]
    return ", ".join(parts)


def _note_stats(context: WorkContext, job: JobRow, report: EpochReport, epochs: int) -> None:
    """Keep what ``/info/`` shows of a running training."""
    stats: Json = {
        "epoch": report.epoch,
        "total_epochs": epochs,
        "train": {"loss": _finite(report.training_loss)},
        "task_weights": {name: _finite(value) for name, value in report.task_weights.items()},
    }
    if report.validation is not None:
        lesion = report.validation.metrics.get("lesion")
        if lesion is not None:
            stats["best_metric"] = _finite(lesion)
    with context.database.writing() as session:
        jobs.get_job(session, job.id).result = {"stats": stats}


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _final_stats(context: WorkContext, job: JobRow, agreement: Agreement | None) -> Json:
    with context.database.reading() as session:
        stats: Json = dict(jobs.get_job(session, job.id).result.get("stats", {}))
    if agreement is not None and math.isfinite(agreement.volume_f1):
        stats["best_metric"] = agreement.volume_f1
    return stats


def _write_version(
    context: WorkContext,
    job: JobRow,
    trainer: Trainer,
    snapshot: Snapshot,
    validation: list[EvaluationCase],
) -> Agreement | None:
    """Write the weights with their card, and judge them on the validation patients."""
    path = checkpoint_path(context.settings, job.id)
    path.parent.mkdir(parents=True, exist_ok=True)
    facts: dict[str, JsonValue] = {
        "job": job.id,
        "code_version": calcium.code_version(),
        "profile": context.settings.profile,
        "seed": context.settings.seed,
        "training_labels": list(snapshot.training),
        "validation_labels": list(snapshot.validation),
    }
    trainer.write_checkpoint(path, facts)
    if not validation:
        return None
    predictor = load_predictor(path, context.device)
    return judge(predictor, validation, context.settings)


def _activate(
    context: WorkContext, job: JobRow, snapshot: Snapshot, agreement: Agreement | None
) -> int:
    """Store the model version and let it answer, once however often this runs."""
    now = context.clock()
    with context.database.writing() as session:
        known = select(ModelVersionRow).where(ModelVersionRow.job_id == job.id)
        row = session.scalars(known).first()
        if row is None:
            row = _version_row(context, session, job, snapshot, agreement)
            session.add(row)
            session.flush()
            reason = f"trained on {len(snapshot.training)} labels"
            model_versions.activate(session, row.id, actor="worker", now=now, reason=reason)
        return row.id


def _version_row(
    context: WorkContext,
    session: Session,
    job: JobRow,
    snapshot: Snapshot,
    agreement: Agreement | None,
) -> ModelVersionRow:
    path = checkpoint_path(context.settings, job.id)
    card: Json = json.loads(path.with_suffix(".json").read_text())
    parent = model_versions.active(session)
    return ModelVersionRow(
        job_id=job.id,
        parent_id=parent.id if parent else None,
        sha256=card["sha256"],
        card=card["facts"] | {"metrics": agreement.to_json() if agreement else {}},
        label_count=len(snapshot.training) + len(snapshot.validation),
        is_active=False,
        created_at=context.clock(),
    )
