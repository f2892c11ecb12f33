"""Jobs as the tasks of the MONAI Label wire."""

import time
from collections.abc import Callable, Mapping
from typing import Final

from sqlalchemy.orm import Session

from app import audit, jobs
from app.errors import BusyError, NotFoundError
from app.jobs import JobKind
from app.store.tables import JobRow, Json
from server.dependencies import Services
from server.flows.waiting import run_and_wait
from server.log_lines import without_paths
from server.wire.finite import finite
from server.wire.options import DEFAULT_CLIENT
from server.wire.schemas import TaskOut

_NAMES: Final[Mapping[JobKind, str]] = {
    "train": "training",
    "batch": "batch",
    "evaluate": "scoring",
}
"""What people call the kinds of jobs that clients start."""

_STATUS: Final = {
    # Clients take every word but RUNNING for an end, so a waiting job runs.
    "queued": "RUNNING",
    "running": "RUNNING",
    "done": "DONE",
    "failed": "ERROR",
    "canceled": "STOPPED",
}


def task_of(job: JobRow) -> TaskOut:
    """Return the task a client sees."""
    return TaskOut(
        id=job.id,
        status="STOPPED" if job.is_cancel_requested else _STATUS[job.status],
        request=finite(job.request),
        start_ts=_local_time(job.started_at or job.created_at),
        end_ts=_local_time(job.ended_at) if job.ended_at else None,
        # 3D Slicer reads the last line without asking whether there is one.
        details=[without_paths(line) for line in job.details] or [job.status],
        progress=job.progress,
    )


def task_list(session: Session, kind: JobKind) -> list[TaskOut]:
    """Return the tasks of a kind, the newest first."""
    return [task_of(job) for job in jobs.history(session, kind)]


def latest_task(session: Session, kind: JobKind) -> TaskOut:
    """Return the task of a kind that was asked for last.

    Raises:
        NotFoundError: If there was none yet.
    """
    job = _unstopped(session, kind) or jobs.latest(session, kind)
    if job is None:
        raise NotFoundError(f"there was no {_NAMES[kind]} yet")
    return task_of(job)


def running_task(session: Session, kind: JobKind) -> TaskOut:
    """Return the running task of a kind.

    Raises:
        NotFoundError: If none runs; clients ask often and read only the status.
    """
    job = _unstopped(session, kind)
    if job is None:
        raise NotFoundError(f"no {_NAMES[kind]} is running")
    return task_of(job)


def status_answer(
    session: Session, kind: JobKind, *, every: bool, running: bool
) -> TaskOut | list[TaskOut]:
    """Answer a status request: all tasks, the running one, or the one asked for last."""
    if running:
        return running_task(session, kind)
    return task_list(session, kind) if every else latest_task(session, kind)


def request_task(
    session: Session, kind: JobKind, request: Json, *, now: float, enqueue: bool = False
) -> JobRow:
    """Queue a job of which only one may run, unless ``enqueue`` lets it wait for its turn.

    A job that is being stopped does not count: 3D Slicer stops a training and starts the next
    one in the same moment.

    Raises:
        BusyError: If one runs already.
    """
    if _unstopped(session, kind) is not None and not enqueue:
        raise BusyError(f"a {_NAMES[kind]} is running already; wait for it or stop it first")
    job = jobs.request_job(session, kind, request, now=now)
    actor = str(request.get("client_id") or DEFAULT_CLIENT)
    change = {"after": {"request": request}}
    audit.record(session, actor, f"start {_NAMES[kind]}", f"job {job.id}", change, now=now)
    return job


def stop_task(session: Session, kind: JobKind, *, now: float) -> TaskOut | None:
    """Stop the running task of a kind; None when none runs."""
    job = _unstopped(session, kind)
    if job is None:
        return None
    change = {"before": {"status": job.status}}
    audit.record(session, DEFAULT_CLIENT, f"stop {_NAMES[kind]}", f"job {job.id}", change, now=now)
    return task_of(jobs.cancel(session, job.id, now=now))


def started(
    services: Services, start: Callable[[Session], JobRow], *, wait: bool
) -> TaskOut | Json:
    """Start a job in a transaction of its own; answer its task, or wait for its result."""
    if wait:
        done = run_and_wait(services, start, services.settings.task_timeout_s)
        return finite(done.result) or task_of(done)
    with services.database.writing() as session:
        return task_of(start(session))


def _unstopped(session: Session, kind: JobKind) -> JobRow | None:
    """Return the oldest open job of a kind that nobody has stopped, or None."""
    job = jobs.running(session, kind)
    if job is None or not job.is_cancel_requested:
        return job
    live = [row for row in jobs.history(session, kind) if row.status in jobs.OPEN]
    return next((row for row in reversed(live) if not row.is_cancel_requested), None)


def _local_time(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
