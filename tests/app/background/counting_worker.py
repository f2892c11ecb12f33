"""A real worker process with one toy kind of work: it counts, one line a unit.

Run as a module with the data folder and the name of the worker as arguments; killed, stopped
and started again by tests. It works and stops as the worker does, without the networks.
"""

import logging
import os
import signal
import sys
import threading
from pathlib import Path

from app.background.job_bench import (
    JobBench,
    hand_over,
    hand_over_forgotten,
    take_over_from_the_dead,
)
from app.background.presence import DeathWatch
from app.background.shift import StopSignals, end_shift, give_sign_of_life
from app.background.work import Progress, Units, WorkContext
from app.background.workflows import JobEngine
from app.settings import load_settings
from app.store.database import Database
from app.store.files import FileStore
from app.store.tables import JobRow

LOG_NAME = "worker.log"
"""What it logs, in the data folder."""

_POLL_S = 0.05


def count(context: WorkContext, job: JobRow) -> Units:
    """Write the numbers up to the wanted one to a file, going on after the last one there."""
    path = context.settings.data / f"{job.id}.txt"
    while (done := len(path.read_text().split()) if path.exists() else 0) < job.request["units"]:
        if done == job.request.get("dies_at"):
            os.kill(os.getpid(), signal.SIGKILL)
        with path.open("a") as file:
            file.write(f"{done}\n")
        if done == job.request.get("fails_at"):
            raise RuntimeError("planted")
        # Blocks until the test has seen this unit: no timing decides where the kill hits.
        if done == job.request.get("waits_at"):
            (context.settings.data / job.request.get("gate", "gate")).open().read()
        yield Progress((done + 1) / job.request["units"])
    return {"counted": done}


class GatedBench(JobBench):
    """Waits at a gate after a job was taken and before it begins, while there is such a gate."""

    def __init__(self, context: WorkContext) -> None:
        """Know the one kind of work."""
        super().__init__(context, {"score": count, "predict": count})
        self._gate = context.settings.data / "gate-before-begin"

    def begin(self, job_id: str) -> bool:
        """Begin a job once the gate has been opened."""
        if self._gate.exists():
            self._gate.open().read()
        return super().begin(job_id)


def main(data: Path, worker_id: str) -> None:
    """Work until killed, or asked to stop."""
    stop = StopSignals()
    stop.install()
    logging.basicConfig(filename=data / LOG_NAME, level=logging.INFO)
    settings = load_settings(data=data, worker_id=worker_id)
    database = Database(settings.database)
    context = WorkContext(settings, database, FileStore(settings.files), "cpu")
    bench = GatedBench(context)
    engine = JobEngine(settings.jobs_database, settings.worker_id, bench)
    give_sign_of_life(context)
    stop.has_work = True
    engine.launch()
    hand_over_forgotten(context, engine)
    pause, deaths = threading.Event(), DeathWatch()
    while not stop.is_wanted:
        hand_over(context, engine)
        take_over_from_the_dead(context, engine, deaths)
        pause.wait(_POLL_S)
    end_shift(context, bench.shift, settings.shutdown_seconds)
    os._exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
