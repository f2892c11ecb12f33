"""Background work as people see it: one row a job.

A job is asked for by inserting a row, in the same transaction as whatever caused it. A
worker finds the row and runs it (see ``app.background.workflows``); the row, not the job engine, is
what every answer is made of.
"""

import uuid
from collections.abc import Sequence
from typing import Final, Literal

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from app.errors import NotFoundError
from app.store.tables import JobRow, Json
from app.tracing import current_trace

JobKind = Literal[
    "scan", "train", "score", "predict", "batch", "evaluate", "sync", "prefetch", "export"
]

EndStatus = Literal["done", "failed", "canceled"]

OPEN: Final = ("queued", "running")
"""States of a job that still has to end."""

REQUEST_ID: Final = "request_id"
"""Key of a job's request under which stands which request asked for it."""

MOST_DEATHS: Final = 5
"""Workers that may die in a row in the middle of a job before it gets any further.

Whoever stops a worker orderly does not count, and few crashes hit the same unit by chance.
"""

DETAIL_LINES: Final = 20
"""How many of its last lines a job keeps, as many as MONAI Label's clients expect."""


def request_job(
    session: Session, kind: JobKind, request: Json, *, now: float, job_id: str | None = None
) -> JobRow:
    """Queue a job; a worker takes it up after the transaction has been committed."""
    asked_by = current_trace().request_id
    if asked_by:
        request = {**request, REQUEST_ID: asked_by}
    row = JobRow(
        id=job_id or str(uuid.uuid4()),
        kind=kind,
        status="queued",
        request=request,
        created_at=now,
        details=["waiting for a worker"],
        result={},
        progress=0.0,
        is_cancel_requested=False,
        is_dispatched=False,
        worker_id="",
        attempts=0,
        reached=0.0,
    )
    session.add(row)
    session.flush()
    return row


def get_job(session: Session, job_id: str) -> JobRow:
    """Return a job.

    Raises:
        NotFoundError: If there is none with this id.
    """
    row = session.get(JobRow, job_id)
    if row is None:
        raise NotFoundError(f"no job {job_id!r}")
    return row


def latest(session: Session, kind: JobKind) -> JobRow | None:
    """Return the job of a kind that was asked for last, or None."""
    newest = select(JobRow).where(JobRow.kind == kind).order_by(JobRow.created_at.desc())
    return session.scalars(newest.limit(1)).first()


def running(session: Session, kind: JobKind) -> JobRow | None:
    """Return the oldest open job of a kind, or None."""
    open_jobs = select(JobRow).where(JobRow.kind == kind, JobRow.status.in_(OPEN))
    return session.scalars(open_jobs.order_by(JobRow.created_at).limit(1)).first()


def history(session: Session, kind: JobKind, limit: int = 100) -> Sequence[JobRow]:
    """Return the last jobs of a kind, newest first."""
    newest = select(JobRow).where(JobRow.kind == kind).order_by(JobRow.created_at.desc())
    return session.scalars(newest.limit(limit)).all()


def forget_ended(session: Session, kind: JobKind, *, keep: int) -> list[str]:
    """Delete the rows of ended jobs of a kind but the newest ``keep``; returns their ids."""
    ended = select(JobRow.id).where(JobRow.kind == kind, JobRow.status.not_in(OPEN))
    old = session.scalars(ended.order_by(JobRow.created_at.desc()).offset(keep)).all()
    session.execute(delete(JobRow).where(JobRow.id.in_(old)))
    return list(old)


def cancel(session: Session, job_id: str, *, now: float) -> JobRow:
    """Stop a job: a queued one at once, a running one at its next check."""
    row = get_job(session, job_id)
    if row.status == "queued":
        finish(session, job_id, "canceled", ["stopped before it started"], now=now)
    elif row.status == "running":
        row.is_cancel_requested = True
    session.flush()
    session.refresh(row)
    return row


def undispatched(session: Session) -> Sequence[JobRow]:
    """Return the queued jobs that no job engine knows yet, oldest first."""
    waiting = select(JobRow).where(JobRow.status == "queued", ~JobRow.is_dispatched)
    return session.scalars(waiting.order_by(JobRow.created_at)).all()


def mark_dispatched(session: Session, job_id: str) -> None:
    """Note that the job engine has taken the job."""
    session.execute(update(JobRow).where(JobRow.id == job_id).values(is_dispatched=True))


def start(session: Session, job_id: str, worker_id: str, *, now: float) -> bool:
    """Note that a worker runs the job; False when the job has ended and must not run.

    A job that a killed worker had started keeps its first start time. One that has killed too
    many ends here; the images after the one that it was at are scored by another job.
    """
    row = get_job(session, job_id)
    if row.status not in OPEN:
        return False
    if row.attempts >= MOST_DEATHS:
        _give_up(session, row, now=now)
        return False
    row.attempts += 1
    row.status = "running"
    row.worker_id = worker_id
    row.started_at = row.started_at or now
    return True


def give_back(session: Session, worker_id: str) -> Sequence[JobRow]:
    """Queue again what a worker that stops has not ended; returns these jobs.

    They go on after their last unit. Their start is forgotten: whoever began in the meantime
    is before them.
    """
    under_way = select(JobRow).where(JobRow.status == "running", JobRow.worker_id == worker_id)
    given_back = session.scalars(under_way.order_by(JobRow.created_at)).all()
    for row in given_back:
        row.status, row.started_at, row.attempts = "queued", None, 0
        row.details = [*row.details, "the worker was stopped; waiting for one"][-DETAIL_LINES:]
    session.flush()
    return given_back


def _give_up(session: Session, row: JobRow, *, now: float) -> None:
    sentence = (
        f"given up: the worker died {row.attempts} times in a row in the middle of this, perhaps"
        " for lack of memory, as the system's log would tell; give the machine more memory or"
        " leave out what it was at"
    )
    finish(session, row.id, "failed", [sentence], now=now)
    if row.kind == "score":
        wanted: list[str] = row.request.get("images", [])
        rest = wanted[round(row.reached * len(wanted)) + 1 :]
        if rest:
            request_job(session, "score", {**row.request, "images": rest}, now=now)


def report(
    session: Session,
    job_id: str,
    progress: float,
    line: str | None = None,
    *,
    reached: float = 0.0,
) -> bool:
    """Note how far a job is; False when asked to stop.

    Args:
        session: Open transaction.
        job_id: The job.
        progress: Progress for people, 0 to 1.
        line: A line for them.
        reached: How far it is, never less than before for more work done. Getting further than
            ever clears a job of the deaths of workers until then.
    """
    row = get_job(session, job_id)
    row.progress = min(max(progress, 0.0), 1.0)
    if reached > row.reached:
        row.reached, row.attempts = reached, 1
    if line is not None:
        row.details = [*row.details, line][-DETAIL_LINES:]
    return not row.is_cancel_requested


def is_cancel_requested(session: Session, job_id: str) -> bool:
    """Tell whether somebody wants the job to stop."""
    wanted = select(JobRow.is_cancel_requested).where(JobRow.id == job_id)
    return bool(session.scalars(wanted).first())


def finish(
    session: Session,
    job_id: str,
    status: EndStatus,
    lines: Sequence[str],
    *,
    now: float,
    result: Json | None = None,
) -> None:
    """Note how a job ended; a job that has ended already stays as it is."""
    row = get_job(session, job_id)
    if row.status not in OPEN:
        return
    row.status = status
    row.details = [*row.details, *lines][-DETAIL_LINES:]
    row.result = result or {}
    row.ended_at = now
    if status == "done":
        row.progress = 1.0
