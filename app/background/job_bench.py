"""Running jobs unit by unit, and handing them from their rows to the job engine.

Concurrency: the engine's threads call ``JobBench``, a job never in two threads at once;
``JobBench._lock`` guards the tables of jobs and is taken last. Jobs that were under way when a
worker died run one at a time until they get further, by ``JobBench._suspects_turn``: when the
worker dies again, that tells which of them it was. The hand-over functions belong to the worker's
main thread.
"""

import logging
import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Final, Protocol

from sqlalchemy import select

from app import jobs
from app.background.presence import DeathWatch
from app.background.shift import Shift
from app.background.work import StoppedError, Units, Work, WorkContext, next_unit
from app.errors import CacLabelError, DamagedFileError
from app.integrity.damage import note_damage
from app.store.tables import JobRow
from app.tracing import Trace, current_trace, tracing

logger = logging.getLogger(__name__)

_WHOLE: Final = frozenset({"predict"})
"""Kinds of jobs that run in one go: somebody waits, and a worker that stops lets them end."""


class JobBench:
    """The jobs this process has started, each with its generator; runs their units.

    Attributes:
        shift: The units under way.
    """

    def __init__(self, context: WorkContext, kinds: Mapping[str, Work]) -> None:
        """Start with an empty bench."""
        self.shift = Shift()
        self._context = context
        self._kinds = kinds
        self._lock = threading.Lock()
        self._suspects_turn = threading.Lock()
        self._started: dict[str, Units] = {}
        self._begun: set[str] = set()
        self._suspects: set[str] = set()

    def begin(self, job_id: str) -> bool:
        """Note that the job runs here; False when it has ended already."""
        with self.shift.unit():
            return self._begin(job_id)

    def advance(self, job_id: str) -> bool:
        """Run one unit of the job and note it; False when the job has ended."""
        with self.shift.unit(), self._turn(job_id), tracing(Trace(job_id=job_id)):
            return self._advance_or_fail(job_id)

    def _begin(self, job_id: str) -> bool:
        settings, now = self._context.settings, self._context.clock()
        with self._context.database.writing() as session:
            goes_on = jobs.start(session, job_id, settings.worker_id, now=now)
            is_suspect = jobs.get_job(session, job_id).attempts > 1
        with self._lock:
            self._begun.add(job_id)
            if is_suspect:
                self._suspects.add(job_id)
        return goes_on

    def _turn(self, job_id: str) -> AbstractContextManager[object]:
        """Return what to hold while a unit runs."""
        with self._lock:
            is_clear = job_id in self._begun and job_id not in self._suspects
        return nullcontext() if is_clear else self._suspects_turn

    def _clear_if_further(self, job_id: str) -> None:
        with self._lock:
            if job_id not in self._suspects:
                return
        with self._context.database.reading() as session:
            is_further = jobs.get_job(session, job_id).attempts <= 1
        with self._lock:
            if is_further:
                self._suspects.discard(job_id)

    def _advance_or_fail(self, job_id: str) -> bool:
        try:
            return self._advance(job_id)
        except StoppedError:
            self._finish(job_id, "canceled", ["stopped on request"])
        except DamagedFileError as error:
            note_damage(self._context.database, error, now=self._context.clock())
            self._finish(job_id, "failed", [str(error)])
        except CacLabelError as error:
            self._finish(job_id, "failed", [str(error)])
        # A job must end with a reason whatever happened in it, and the worker go on.
        except Exception as error:
            logger.exception("job %s failed", job_id)
            self._finish(job_id, "failed", [f"{type(error).__name__}: {error}"])
        return False

    def _advance(self, job_id: str) -> bool:
        started = self._work(job_id)
        if started is None:
            return False
        kind, work = started
        while True:
            progress, result = next_unit(work)
            if progress is None:
                break
            self._context.report(job_id, progress)
            self._clear_if_further(job_id)
            if kind not in _WHOLE:
                return True
        self._forget(job_id)
        with self._context.database.writing() as session:
            now = self._context.clock()
            jobs.finish(session, job_id, "done", ["done"], now=now, result=result)
        logger.info("%s job %s is done", kind, job_id)
        return False

    def _work(self, job_id: str) -> tuple[str, Units] | None:
        """Return kind and generator of a job, made anew after a restart; None when it has ended."""
        with self._context.database.reading() as session:
            job = jobs.get_job(session, job_id)
        if job.status not in jobs.OPEN:
            self._forget(job_id)
            return None
        # One that was given back, or whose worker died: for the engine it has begun already.
        is_begun = job.status == "running" and job_id in self._begun
        if not is_begun and not self._begin(job_id):
            return None
        current_trace().request_id = job.request.get(jobs.REQUEST_ID, "")
        with self._lock:
            if job_id not in self._started:
                logger.info("%s job %s runs here", job.kind, job_id)
                self._started[job_id] = self._kinds[job.kind](self._context, job)
            return job.kind, self._started[job_id]

    def _finish(self, job_id: str, status: jobs.EndStatus, lines: list[str]) -> None:
        self._forget(job_id)
        logger.info("job %s is %s", job_id, status)
        with self._context.database.writing() as session:
            jobs.finish(session, job_id, status, lines, now=self._context.clock())

    def _forget(self, job_id: str) -> None:
        with self._lock:
            self._started.pop(job_id, None)
            self._begun.discard(job_id)
            self._suspects.discard(job_id)


class Engine(Protocol):
    """What the worker's main loop needs of the job engine."""

    def enqueue(self, job: JobRow) -> None:
        """Hand a job over; handing it over again changes nothing."""

    def knows(self, job_id: str) -> bool:
        """Tell whether the engine has the job."""

    def taken_by(self, workers: list[str]) -> list[str]:
        """Return the ids of the jobs that these workers have taken and not ended."""

    def take_over(self, jobs: list[JobRow]) -> None:
        """Run here what a dead worker had started."""


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


def take_over_from_the_dead(context: WorkContext, engine: Engine, watch: DeathWatch) -> None:
    """Run here what workers without a sign of life had taken, begun or not."""
    with context.database.reading() as session:
        dead = watch.dead(session)
    taken = engine.taken_by([name for name in dead if name != context.settings.worker_id])
    with context.database.writing() as session:
        is_orphan = JobRow.id.in_(taken) & JobRow.status.in_(jobs.OPEN)
        orphans = list(session.scalars(select(JobRow).where(is_orphan)))
        for job in orphans:
            job.worker_id = context.settings.worker_id
    if orphans:
        engine.take_over(orphans)
