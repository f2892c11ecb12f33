"""The worker process: takes jobs from their rows and runs them, one thread a queue.

It is crash-only: the next worker with its name goes on where it was, however it ended. One
that is asked to stop lets the units under way end first, for a while. The main thread hands new
rows to the job engine, gives a sign of life and takes over from dead workers; the engine's
threads run the units. The studies folder is looked at in a thread of its own: a slow share must
not make a worker seem dead.

Lock: a file lock on the worker's name; a second worker of that name is refused, a killed
one leaves no trace.
"""

import logging
import math
import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

import torch

from app import evaluation, studies
from app.background.job_bench import (
    JobBench,
    hand_over,
    hand_over_forgotten,
    take_over_from_the_dead,
)
from app.background.presence import DeathWatch
from app.background.rounds import start_round
from app.background.set_back import SetBackWatch
from app.background.shift import StopSignals, end_shift, give_sign_of_life
from app.background.sweep import sweep
from app.background.work import Work, WorkContext
from app.background.worker_lock import WorkerLock
from app.background.workflows import JobEngine
from app.model_versions import discard_stale
from app.pacs import export_job, prefetch, sync
from app.prediction import jobs as prediction_jobs
from app.settings import Settings
from app.store.database import Database
from app.store.files import FileStore
from app.training.job import train
from app.training.trigger import request_training_if_due

logger = logging.getLogger(__name__)

KINDS: Final[Mapping[str, Work]] = {
    "scan": studies.scan,
    "train": train,
    "score": prediction_jobs.score_pool,
    "predict": prediction_jobs.predict_one,
    "batch": prediction_jobs.predict_batch,
    "evaluate": evaluation.evaluate_labels,
    "sync": sync.sync,
    "prefetch": prefetch.prefetch,
    "export": export_job.export,
}
"""The work behind each kind of job."""

ROUNDS: Final[Mapping[str, Callable[[WorkContext], float]]] = {
    "the look at the studies folder": studies.look,
    "the sweep of old files": sweep,
}
"""What is done again and again; each returns the seconds until the next time."""

_POLL_S = 0.1
"""Pause between two looks for new job rows."""

_HEARTBEAT_S = 5.0
"""Pause between two signs of life."""

_LOOK_S = 2.0
"""Pause between two looks whether a training, the DICOMweb server or the next samples are due."""

_NICENESS = 10
"""The web process must answer while the worker keeps every core busy."""


def main(settings: Settings, stop: StopSignals) -> None:
    """Run a worker until somebody asks it to stop; threads of it may be left that wait.

    Args:
        settings: Settings of the deployment.
        stop: Knows whether somebody asks.

    Raises:
        ConflictError: If a worker of this name runs on the data folder already.
    """
    lock = WorkerLock(settings.data / "workers", settings.worker_id)
    os.nice(_NICENESS)
    torch.set_num_threads(settings.threads or os.cpu_count() or 1)
    torch.set_num_interop_threads(1)
    database = Database(settings.database)
    database.migrate()
    with database.writing() as session:
        discard_stale(session, settings, now=time.time())
    device = _device(settings.device)
    context = WorkContext(settings, database, FileStore(settings.files), device)
    bench = JobBench(context, KINDS)
    engine = JobEngine(settings.jobs_database, settings.worker_id, bench)
    # Before it takes its first job: only workers that were seen alive can be seen dead.
    give_sign_of_life(context)
    stop.has_work = True
    engine.launch()
    logger.info("worker %s runs on %s", settings.worker_id, device)
    for name, act in ROUNDS.items():
        start_round(name, partial(act, context))
    with lock:
        _run(context, engine, stop)
        end_shift(context, bench.shift, settings.shutdown_seconds)


def _run(context: WorkContext, engine: JobEngine, stop: StopSignals) -> None:
    hand_over_forgotten(context, engine)
    lookahead = prefetch.Lookahead(context)
    deaths, set_back = DeathWatch(), SetBackWatch(context)
    last_sign = last_look = -math.inf
    while not stop.is_wanted:
        hand_over(context, engine)
        if time.monotonic() - last_sign >= _HEARTBEAT_S:
            last_sign = time.monotonic()
            give_sign_of_life(context)
            hand_over_forgotten(context, engine)
            take_over_from_the_dead(context, engine, deaths)
        if time.monotonic() - last_look >= _LOOK_S:
            last_look = time.monotonic()
            set_back.look()
            request_training_if_due(context)
            engine.forget(sync.request_sync_if_due(context))
            engine.forget(lookahead.request_if_needed())
            engine.forget(export_job.request_export_if_due(context))
        time.sleep(_POLL_S)


def _device(wanted: str) -> str:
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return wanted
