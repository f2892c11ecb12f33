"""The worker process: takes jobs from their rows and runs them, one thread a queue.

It is crash-only: stopping it and killing it are the same, and the next worker with its
name goes on where it was. The main thread hands new rows to the job engine, gives a sign
of life and takes over from dead workers; the engine's threads run the units.

Locks: a file lock on the worker's name (a second worker of that name is refused, a killed
one leaves no trace), and ``JobBench._lock`` around the table of started jobs.
"""

import fcntl
import logging
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Protocol

import torch
from sqlalchemy import select
from sqlalchemy.orm import Session

from app import evaluation, jobs, predictions, studies, training
from app.errors import CacLabelError, ConflictError
from app.settings import Settings
from app.store.database import Database
from app.store.files import FileStore
from app.store.tables import JobRow, WorkerRow
from app.work import StoppedError, Units, Work, WorkContext, next_unit
from app.workflows import JobEngine

logger = logging.getLogger(__name__)

KINDS: Final[Mapping[str, Work]] = {
    "scan": studies.scan,
    "train": training.train,
    "score": predictions.score_pool,
    "predict": predictions.predict_one,
    "batch": predictions.predict_batch,
    "evaluate": evaluation.evaluate_labels,
}
"""The work behind each kind of job."""

_POLL_S = 0.1
"""Pause between two looks for new job rows."""

_HEARTBEAT_S = 5.0
"""Pause between two signs of life."""

_DEAD_AFTER_S = 60.0
"""A worker without a sign of life for so long is dead; others take over its jobs."""

_NICENESS = 10
"""The web process must answer while the worker keeps every core busy."""


class JobBench:
    """The jobs this process has started, each with its generator; runs their units."""

    def __init__(self, context: WorkContext, kinds: Mapping[str, Work] = KINDS) -> None:
        """Start with an empty bench."""
        self._context = context
        self._kinds = kinds
        self._lock = threading.Lock()
        self._started: dict[str, Units] = {}

    def begin(self, job_id: str) -> bool:
        """Note that the job runs here; False when it has ended already."""
        settings, now = self._context.settings, self._context.clock()
        with self._context.database.writing() as session:
            return jobs.start(session, job_id, settings.worker_id, now=now)

    def advance(self, job_id: str) -> bool:
        """Run one unit of the job and note it; False when the job has ended."""
        try:
            return self._advance(job_id)
        except StoppedError:
            self._finish(job_id, "canceled", ["stopped on request"])
        except CacLabelError as error:
            self._finish(job_id, "failed", [str(error)])
        # A job must end with a reason whatever happened in it, and the worker go on.
        except Exception as error:
            logger.exception("job %s failed", job_id)
            self._finish(job_id, "failed", [f"{type(error).__name__}: {error}"])
        return False

    def _advance(self, job_id: str) -> bool:
        work = self._work(job_id)
        if work is None:
            return False
        progress, result = next_unit(work)
        if progress is not None:
            self._context.report(job_id, progress)
            return True
        self._forget(job_id)
        with self._context.database.writing() as session:
            now = self._context.clock()
            jobs.finish(session, job_id, "done", ["done"], now=now, result=result)
        return False

    def _work(self, job_id: str) -> Units | None:
        """Return the job's generator, made anew after a restart; None when it has ended."""
        with self._context.database.reading() as session:
            job = jobs.get_job(session, job_id)
        if job.status not in jobs.OPEN:
            self._forget(job_id)
            return None
        with self._lock:
            if job_id not in self._started:
                self._started[job_id] = self._kinds[job.kind](self._context, job)
            return self._started[job_id]

    def _finish(self, job_id: str, status: jobs.EndStatus, lines: list[str]) -> None:
        self._forget(job_id)
        with self._context.database.writing() as session:
            jobs.finish(session, job_id, status, lines, now=self._context.clock())

    def _forget(self, job_id: str) -> None:
        with self._lock:
            self._started.pop(job_id, None)


class Engine(Protocol):
    """What the worker's main loop needs of the job engine."""

    def enqueue(self, job: JobRow) -> None:
        """Hand a job over; handing it over again changes nothing."""

    def knows(self, job_id: str) -> bool:
        """Tell whether the engine has the job."""

    def take_over(self, jobs: list[JobRow]) -> None:
        """Run here what a dead worker had started."""


def main(settings: Settings) -> None:
    """Run a worker until the process is stopped.

    Raises:
        ConflictError: If a worker of this name runs on the data folder already.
    """
    lock = _lock_name(settings)
    os.nice(_NICENESS)
    torch.set_num_threads(settings.threads or os.cpu_count() or 1)
    torch.set_num_interop_threads(1)
    database = Database(settings.database)
    database.migrate()
    device = _device(settings.device)
    context = WorkContext(settings, database, FileStore(settings.files), device)
    engine = JobEngine(settings.jobs_database, settings.worker_id, JobBench(context))
    engine.launch()
    logger.info("worker %s runs on %s", settings.worker_id, device)
    with lock:
        _run(context, engine)


def _run(context: WorkContext, engine: JobEngine) -> None:
    hand_over_forgotten(context, engine)
    last_sign = last_scan = -_DEAD_AFTER_S
    while True:
        hand_over(context, engine)
        if time.monotonic() - last_sign >= _HEARTBEAT_S:
            last_sign = time.monotonic()
            give_sign_of_life(context)
            take_over_from_the_dead(context, engine)
        if time.monotonic() - last_scan >= context.settings.scan_seconds:
            last_scan = time.monotonic()
            studies.request_scan_if_changed(context)
        time.sleep(_POLL_S)


def hand_over(context: WorkContext, engine: Engine) -> None:
    """Hand new job rows to the engine, which takes each once however often it is handed over."""
    with context.database.reading() as session:
        waiting = jobs.undispatched(session)
    for job in waiting:
        engine.enqueue(job)
        with context.database.writing() as session:
            jobs.mark_dispatched(session, job.id)


def hand_over_forgotten(context: WorkContext, engine: Engine) -> None:
    """Hand over again the open jobs that the engine does not know, as after a lost database."""
    with context.database.reading() as session:
        open_jobs = session.scalars(select(JobRow).where(JobRow.status.in_(jobs.OPEN))).all()
    for job in open_jobs:
        if not engine.knows(job.id):
            engine.enqueue(job)


def give_sign_of_life(context: WorkContext) -> None:
    """Note that this worker lives."""
    now = context.clock()
    with context.database.writing() as session:
        row = session.get(WorkerRow, context.settings.worker_id)
        if row is None:
            row = WorkerRow(id=context.settings.worker_id, started_at=now)
            session.add(row)
        row.seen_at = now


def take_over_from_the_dead(context: WorkContext, engine: Engine) -> None:
    """Run here what workers without a sign of life had started."""
    now = context.clock()
    with context.database.writing() as session:
        orphans = _orphans(session, dead_since=now - _DEAD_AFTER_S)
        for job in orphans:
            job.worker_id = context.settings.worker_id
    if orphans:
        engine.take_over(orphans)


def _orphans(session: Session, *, dead_since: float) -> list[JobRow]:
    dead = select(WorkerRow.id).where(WorkerRow.seen_at < dead_since)
    orphaned = select(JobRow).where(JobRow.status == "running", JobRow.worker_id.in_(dead))
    return list(session.scalars(orphaned))


def _lock_name(settings: Settings) -> "WorkerLock":
    return WorkerLock(settings.data / "workers", settings.worker_id)


class WorkerLock:
    """Holds a worker's name for this process; the kernel frees it however the process ends."""

    def __init__(self, folder: Path, worker_id: str) -> None:
        """Take the name.

        Raises:
            ConflictError: If another process holds it.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._file = (folder / f"{worker_id}.lock").open("w")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConflictError(
                f"a worker named {worker_id!r} runs already; give this one another --worker-id"
            ) from None

    def __enter__(self) -> None:
        """Keep the name."""

    def __exit__(self, *_: object) -> None:
        """Give the name back."""
        self._file.close()


def _device(wanted: str) -> str:
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return wanted
