"""A real worker process with one toy kind of work: it counts, one line a unit.

Run as a module with the data folder as argument; killed and started again by tests.
"""

import sys
import threading
from pathlib import Path

from app.background.job_bench import JobBench, hand_over, hand_over_forgotten
from app.background.work import Progress, Units, WorkContext
from app.background.workflows import JobEngine
from app.settings import load_settings
from app.store.database import Database
from app.store.files import FileStore
from app.store.tables import JobRow

_POLL_S = 0.05


def count(context: WorkContext, job: JobRow) -> Units:
    """Write the numbers up to the wanted one to a file, going on after the last one there."""
    path = context.settings.data / f"{job.id}.txt"
    while (done := len(path.read_text().split()) if path.exists() else 0) < job.request["units"]:
        with path.open("a") as file:
            file.write(f"{done}\n")
        if done == job.request.get("fails_at"):
            raise RuntimeError("planted")
        # Blocks until the test has seen this unit: no timing decides where the kill hits.
        if done == job.request.get("waits_at"):
            (context.settings.data / "gate").open().read()
        yield Progress((done + 1) / job.request["units"])
    return {"counted": done}


def main(data: Path) -> None:
    """Work until killed."""
    settings = load_settings(data=data)
    database = Database(settings.database)
    context = WorkContext(settings, database, FileStore(settings.files), "cpu")
    engine = JobEngine(
        settings.jobs_database, settings.worker_id, JobBench(context, {"score": count})
    )
    engine.launch()
    hand_over_forgotten(context, engine)
    pause = threading.Event()
    while True:
        hand_over(context, engine)
        pause.wait(_POLL_S)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
