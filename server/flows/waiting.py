"""Waiting for a worker without taking the threads that answer everybody else."""

from collections.abc import Callable

from sqlalchemy.orm import Session

from app import inference
from app.errors import BusyError
from app.store.tables import JobRow
from server.dependencies import Services


def run_and_wait(
    services: Services, start: Callable[[Session], JobRow], timeout_s: float
) -> JobRow:
    """Start a job in a transaction of its own and wait for its end.

    Blocks a thread, so only so many requests may be here at once.

    Raises:
        BusyError: If too many requests wait already; nothing was started.
        NotReadyError: If the job has not ended within ``timeout_s``.
        JobFailedError: If it failed or was stopped.
        StoppingError: If the server is about to end and the job has not begun.
    """
    if not services.waiting_places.acquire(blocking=False):
        raise BusyError("too many requests wait for a worker already; try again in a while")
    try:
        with services.database.writing() as session:
            job = start(session)
        return inference.wait_for(services.database, job.id, timeout_s, services.stopping.is_set)
    finally:
        services.waiting_places.release()
