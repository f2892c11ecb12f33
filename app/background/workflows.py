"""Durable execution of jobs: the only module that calls DBOS.

A job row is the truth for people; a DBOS workflow with the row's id makes sure that it is
run to its end, on this worker or, when this one dies, on the next one with its name. Each
step of a workflow is one unit of the job's work (an epoch, an image), so a kill costs at
most the unit in flight. Steps may run twice; units are written so that this changes
nothing.
"""

import logging
import sqlite3
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from dbos import DBOS, DBOSConfig, SetWorkflowID
from sqlalchemy import make_url

from app.store.tables import JobRow

logger = logging.getLogger(__name__)

_APPLICATION_VERSION = "caclabel-jobs-1"
"""Fixed, because DBOS recovers only workflows of its own version, by default a code hash.

Changes only when old unfinished workflows must not be continued by new code.
"""

_QUEUES: Final = {
    "scan": "files",
    "train": "train",
    "score": "score",
    "batch": "score",
    "evaluate": "score",
    "predict": "predict",
    "sync": "sync",
    "prefetch": "prefetch",
    "export": "export",
}
"""Queue by kind of job; each runs one job at a time on a worker."""

_IN_PROGRESS: Final = ("ENQUEUED", "DELAYED", "PENDING")
"""States of a workflow that the engine will run to its end by itself."""

_POLL_S: Final = 0.5
"""Pause between two looks at a queue; seven queues looked at ten times a second kept a third of
a core busy."""

_PREDICT_POLL_S: Final = 0.1
"""The same for interactive predictions, part of the wait of a person."""


class JobRunner(Protocol):
    """Runs the units of a job."""

    def begin(self, job_id: str) -> bool:
        """Note that the job runs here; False when it must not."""

    def advance(self, job_id: str) -> bool:
        """Run one unit; False when the job has ended, well or badly."""


class JobEngine:
    """The job engine of one worker process."""

    def __init__(self, database_url: str, worker_id: str, runner: JobRunner) -> None:
        """Set the engine up; nothing runs before ``launch``."""
        _use_write_ahead_log(database_url)
        config: DBOSConfig = {
            "name": "caclabel",
            "system_database_url": database_url,
            "executor_id": worker_id,
            "application_version": _APPLICATION_VERSION,
            "log_level": "WARNING",
        }
        DBOS(config=config)
        self._run_job = DBOS.workflow(name="run_job")(_job_workflow(runner))

    def launch(self) -> None:
        """Start working: first on what this worker left unfinished, then on the queues."""
        DBOS.launch()
        for queue in sorted(set(_QUEUES.values())):
            pause_s = _PREDICT_POLL_S if queue == _QUEUES["predict"] else _POLL_S
            DBOS.register_queue(queue, worker_concurrency=1, polling_interval_sec=pause_s)

    def enqueue(self, job: JobRow) -> None:
        """Hand a job to the engine; one that it runs already stays as it is.

        A workflow that broke off because not even its failure could be written down, as on
        a full disk, is taken up again where it was.
        """
        status = DBOS.get_workflow_status(job.id)
        if status is None:
            with SetWorkflowID(job.id):
                DBOS.enqueue_workflow(_QUEUES[job.kind], self._run_job, job.id)
        elif status.status not in _IN_PROGRESS:
            DBOS.resume_workflow(job.id, queue_name=_QUEUES[job.kind])

    def knows(self, job_id: str) -> bool:
        """Tell whether the engine has the job and has not given it up."""
        status = DBOS.get_workflow_status(job_id)
        return status is not None and status.status in _IN_PROGRESS

    def taken_by(self, workers: Sequence[str]) -> list[str]:
        """Return the ids of the jobs that these workers have taken and not ended.

        The engine knows of a job as soon as a worker takes it, before the worker notes in
        the job's row that it has begun.
        """
        if not workers:
            return []
        taken = DBOS.list_workflows(
            status="PENDING", executor_id=list(workers), load_input=False, load_output=False
        )
        return [workflow.workflow_id for workflow in taken]

    def forget(self, job_ids: Sequence[str]) -> None:
        """Delete what is kept of ended jobs."""
        if job_ids:
            DBOS.delete_workflows(list(job_ids))

    def take_over(self, jobs: Sequence[JobRow]) -> None:
        """Run jobs here that a dead worker had taken, from their last finished unit."""
        for job in jobs:
            DBOS.cancel_workflow(job.id)
            DBOS.resume_workflow(job.id, queue_name=_QUEUES[job.kind])
            logger.warning("took over %s job %s of a dead worker", job.kind, job.id)


def _job_workflow(runner: JobRunner) -> Callable[[str], None]:
    def run_job(job_id: str) -> None:
        if not DBOS.run_step({"name": "begin"}, runner.begin, job_id):
            return
        while DBOS.run_step({"name": "advance"}, runner.advance, job_id):
            pass

    return run_job


def _use_write_ahead_log(database_url: str) -> None:
    """Switch an embedded job database to WAL, which persists; DBOS does not do it itself."""
    url = make_url(database_url)
    if url.get_backend_name() == "sqlite" and url.database:
        connection = sqlite3.connect(url.database)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.close()
