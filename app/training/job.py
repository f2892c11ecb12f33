"""The job of training a model version: plan, load, fit, judge, and promote or keep back.

Everything that decides is on disk before it is used: the plan before the first case, the
state of the network after every epoch, the version before it is judged, and every prediction
of the judging. A training that was killed therefore goes on where it was, and what it decides
takes effect once.
"""

import logging
import math
import shutil
import threading
from collections.abc import Callable, Generator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from sqlalchemy import or_, select
from torch import Tensor

from app import jobs, model_versions
from app.background.work import Progress, StoppedError, Units, WorkContext
from app.errors import DamagedWeightsError, InvalidInputError, NotFoundError
from app.integrity.damage import note_damage
from app.memory import memory_needed
from app.prediction.weights import read_checkpoint
from app.recipes import calcium
from app.store.tables import JobRow, Json, ModelVersionRow
from app.training.cases import load_cases
from app.training.judging import judge
from app.training.outcome import Outcome, add_version, find_version, known_outcome, settle
from app.training.plan import TrainingPlan, make_plan, read_plan, write_plan
from app.training.trigger import note_seen
from models.training.dataset import TrainingCase
from models.training.reports import EpochReport
from models.training.trainer import Trainer
from models.training.validation import StoppedValidationError

logger = logging.getLogger(__name__)

_TURN_S: Final = 1.0
"""Pause between two looks whether another worker's training has ended."""


def train(context: WorkContext, job: JobRow) -> Units:
    """Train a model version and decide whether it answers; an epoch or an image a unit.

    Raises:
        TooLittleMemoryError: If there is no memory to train slice by slice on the processor.
    """
    with memory_needed("the training"):
        return (yield from _train(context, job))


def _train(context: WorkContext, job: JobRow) -> Units:
    folder = context.settings.runs / job.id
    version = find_version(context, job.id)
    outcome = known_outcome(version) if version is not None else None
    if version is None:
        version = yield from _fit(context, job, folder)
    if outcome is None:
        outcome = yield from _judge(context, job, folder, version)
    shutil.rmtree(folder, ignore_errors=True)
    return {
        "model_version": version.id,
        "is_promoted": outcome.is_promoted,
        "reason": outcome.reason,
        "left_out": version.card.get("left_out", []),
        "metrics": outcome.metrics,
        "stats": _final_stats(context, job, outcome),
    }


def _fit(
    context: WorkContext, job: JobRow, folder: Path
) -> Generator[Progress, None, ModelVersionRow]:
    """Train until the weights of a new version are written."""
    should_stop = context.stop_check(job.id)
    _wait_for_turn(context, job, should_stop)
    plan = _plan(context, job, folder)
    count = f"{len(plan.training)} labels, {len(plan.validation)} for validation"
    yield Progress(0.0, f"preparing {count}; start {plan.start}: {plan.why}")
    plan, training, validation = _load(context, job, plan, folder)
    if plan.left_out:
        yield Progress(0.0, plan.told_left_out)
    trainer, epochs = _trainer(context, job, plan, training, validation)
    yield Progress(0.0, _resume(trainer))
    while not trainer.is_finished:
        report = _run_epoch(context, trainer, should_stop)
        _note_stats(context, job, report, epochs)
        yield Progress(report.epoch / epochs, _epoch_line(report, epochs))
    yield from _choose_margin(context, trainer, should_stop)
    version = add_version(context, job, trainer, plan)
    yield Progress(1.0, f"judging model version {version.id}", stage=1)
    return version


def _judge(
    context: WorkContext, job: JobRow, folder: Path, version: ModelVersionRow
) -> Generator[Progress, None, Outcome]:
    """Measure the version beside the one that answers, until the two stay the same."""
    plan = read_plan(folder)
    if plan is None:
        raise NotFoundError(f"the plan of training {job.id} is gone; train again")
    while True:
        with context.database.reading() as session:
            active = model_versions.active(session)
        champion = active.id if active else None
        judgement = yield from judge(
            context, job.id, plan.validation, challenger=version.id, champion=champion
        )
        outcome = settle(context, job, plan, version, champion, judgement)
        if outcome is not None:
            return outcome


def _wait_for_turn(context: WorkContext, job: JobRow, should_stop: Callable[[], bool]) -> None:
    """Wait until no training that began earlier runs on another worker.

    One of this worker's own would be waiting for us: a worker runs one training at a time.
    """
    pause = threading.Event()
    while _has_earlier_training(context, job):
        if should_stop():
            raise StoppedError
        pause.wait(_TURN_S)


def _has_earlier_training(context: WorkContext, job: JobRow) -> bool:
    with context.database.reading() as session:
        own = jobs.get_job(session, job.id)
        began = own.started_at or own.created_at
        is_earlier = or_(
            JobRow.started_at < began, (JobRow.started_at == began) & (JobRow.id < own.id)
        )
        others = select(JobRow.id).where(
            JobRow.kind == "train",
            JobRow.status == "running",
            JobRow.worker_id != own.worker_id,
            is_earlier,
        )
        return session.scalars(others.limit(1)).first() is not None


def _plan(context: WorkContext, job: JobRow, folder: Path) -> TrainingPlan:
    """Return what was planned when the training first started."""
    plan = read_plan(folder)
    if plan is None:
        with context.database.writing() as session:
            note_seen(session, job.id)
            plan = make_plan(session, context.settings, _options(job))
        write_plan(folder, plan)
    return plan


def _load(
    context: WorkContext, job: JobRow, plan: TrainingPlan, folder: Path
) -> tuple[TrainingPlan, list[TrainingCase], list[TrainingCase]]:
    """Load the cases; the plan goes on without those that cannot be read.

    Raises:
        NotReadyError: If too few can be read.
    """
    should_stop = context.stop_check(job.id)
    training, validation = (
        load_cases(
            context,
            labels,
            folder / "labels",
            new=plan.new,
            judges=labels is plan.validation,
            should_stop=should_stop,
        )
        for labels in (plan.training, plan.validation)
    )
    left_out = training.left_out + validation.left_out
    if left_out:
        plan = plan.without(left_out, context.settings)
        write_plan(folder, plan)
    return plan, training.cases, validation.cases


def _trainer(
    context: WorkContext,
    job: JobRow,
    plan: TrainingPlan,
    training: list[TrainingCase],
    validation: list[TrainingCase],
) -> tuple[Trainer, int]:
    """Return the trainer with its cases, and the most epochs it will run."""
    folder = context.settings.runs / job.id
    initial = _initial_weights(context, plan)
    planned = calcium.trainer_config(
        context.settings, max_epochs=_max_epochs(job), device=context.device
    )
    config = replace(planned, start="fresh" if initial is None else plan.start)
    network = calcium.network_config(context.settings)
    return Trainer(network, config, training, validation, folder, initial), config.epochs


def _initial_weights(context: WorkContext, plan: TrainingPlan) -> Mapping[str, Tensor] | None:
    """Return the weights to begin from; None for a fresh start, or where they are of no use."""
    if plan.start == "fresh" or plan.before is None:
        return None
    with context.database.reading() as session:
        before = model_versions.get_version(session, plan.before)
    path = model_versions.weights_path(context.settings, before.job_id)
    try:
        checkpoint = read_checkpoint(path)
    except DamagedWeightsError as error:
        logger.warning("starting fresh, version %s cannot be begun from", before.id)
        note_damage(context.database, error, now=context.clock())
        return None
    if checkpoint.network != calcium.network_config(context.settings):
        logger.warning("starting fresh: version %s has a network of another shape", before.id)
        return None
    return checkpoint.weights


def _resume(trainer: Trainer) -> str:
    """Go on from the last epoch kept; a state of other code or settings is of no use any more."""
    try:
        resumed = trainer.resume()
    except ValueError as error:
        return f"starting over: {error}"
    return f"going on after epoch {trainer.epoch}" if resumed else "starting"


def _options(job: JobRow) -> Json:
    options: Json = job.request.get("options", {})
    return options


def _max_epochs(job: JobRow) -> int:
    wanted = _options(job).get("max_epochs", 0)
    try:
        return max(int(float(wanted)), 0)
    except (TypeError, ValueError, OverflowError):
        raise InvalidInputError(f"expected a number of epochs, got {wanted!r}") from None


def _run_epoch(
    context: WorkContext, trainer: Trainer, should_stop: Callable[[], bool]
) -> EpochReport:
    report = trainer.run_epoch(lambda _: None, _giving_way(context, should_stop))
    if report.is_canceled:
        raise StoppedError
    return report


def _choose_margin(
    context: WorkContext, trainer: Trainer, should_stop: Callable[[], bool]
) -> Generator[Progress, None, None]:
    """Choose how sure of a lesion the network must be, one validation image a unit."""
    yield Progress(0.0, "choosing how sure of a lesion to be", stage=1)
    try:
        for fraction in trainer.choose_margin(_giving_way(context, should_stop)):
            yield Progress(fraction, stage=1)
    except StoppedValidationError:
        raise StoppedError from None


def _giving_way(context: WorkContext, should_stop: Callable[[], bool]) -> Callable[[], bool]:
    """Return ``should_stop``, which waits for interactive predictions before it answers."""

    def stop_or_give_way() -> bool:
        context.turns.give_way()
        return should_stop()

    return stop_or_give_way


def _epoch_line(report: EpochReport, epochs: int) -> str:
    parts = [f"epoch {report.epoch}/{epochs}", f"{report.seconds:.1f} s"]
    if report.training_loss is not None:
        parts.append(f"loss {report.training_loss:.3f}")
    if report.validation is not None:
        metrics = report.validation.metrics.items()
        parts += [f"{task} {value:.3f}" for task, value in metrics]
        # The version is judged at the margin that is chosen after the last epoch.
        parts.append("at even odds")
    if report.shortage:
        parts.append(report.shortage)
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


def _final_stats(context: WorkContext, job: JobRow, outcome: Outcome) -> Json:
    with context.database.reading() as session:
        stats: Json = dict(jobs.get_job(session, job.id).result.get("stats", {}))
    best = outcome.metrics.get("volume_f1")
    return stats if best is None else {**stats, "best_metric": best}
