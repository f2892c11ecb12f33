"""Jobs in real processes that are really killed."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app import jobs
from app.background.worker_lock import WorkerLock
from app.errors import ConflictError
from app.settings import load_settings
from app.store.database import Database
from app.store.tables import JobRow, Json, WorkerRow

_LONGEST_WAIT_S = 60.0
_POLL_S = 0.05


@contextmanager
def worker(data: Path, name: str = "worker-0") -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "tests.app.background.counting_worker", str(data), name]
    with subprocess.Popen(command) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def database(tmp_path: Path) -> Database:
    opened = Database(load_settings(data=tmp_path).database)
    opened.migrate()
    return opened


def ask(database: Database, request: Json) -> str:
    with database.writing() as session:
        return jobs.request_job(session, "score", request, now=time.time()).id


def ended(database: Database, job_id: str) -> JobRow:
    deadline = time.monotonic() + _LONGEST_WAIT_S
    pause = threading.Event()
    while time.monotonic() < deadline:
        with database.reading() as session:
            job = jobs.get_job(session, job_id)
        if job.status not in jobs.OPEN:
            return job
        # A poll with an end, not a bet on how long something takes.
        pause.wait(_POLL_S)
    raise AssertionError(f"job is still {job.status}: {job.details}")


def test_killed_job_goes_on_after_its_last_unit(database: Database, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gate")
    job_id = ask(database, {"units": 6, "waits_at": 3})
    # Opening the gate for writing returns when the worker waits at it, in unit 3.
    with worker(tmp_path) as process, (tmp_path / "gate").open("w"):
        process.send_signal(signal.SIGKILL)
        process.wait()
    with worker(tmp_path):
        job = ended(database, job_id)
    assert job.status == "done"
    # The unit in flight had written its number before the kill; none is counted twice.
    assert (tmp_path / f"{job_id}.txt").read_text().split() == ["0", "1", "2", "3", "4", "5"]


def test_job_of_a_lost_job_database_is_run_again(database: Database, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gate")
    job_id = ask(database, {"units": 4, "waits_at": 1})
    with worker(tmp_path) as process, (tmp_path / "gate").open("w"):
        process.kill()
        process.wait()
    for file in tmp_path.glob("jobs.sqlite*"):
        file.unlink()
    with worker(tmp_path):
        assert ended(database, job_id).status == "done"


def declare_dead(database: Database, name: str) -> None:
    with database.writing() as session:
        session.get_one(WorkerRow, name).seen_at = 0.0


def test_job_of_a_dead_worker_goes_on_with_another(database: Database, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gate")
    job_id = ask(database, {"units": 6, "waits_at": 3})
    with worker(tmp_path, "first") as process, (tmp_path / "gate").open("w"):
        process.kill()
        process.wait()
    declare_dead(database, "first")
    with worker(tmp_path, "second"):
        job = ended(database, job_id)
    assert (job.status, job.worker_id) == ("done", "second")
    assert (tmp_path / f"{job_id}.txt").read_text().split() == ["0", "1", "2", "3", "4", "5"]


def test_job_taken_but_not_begun_goes_on_with_another(database: Database, tmp_path: Path) -> None:
    gate = tmp_path / "gate-before-begin"
    os.mkfifo(gate)
    job_id = ask(database, {"units": 2})
    with worker(tmp_path, "first") as process, gate.open("w"):
        process.kill()
        process.wait()
    gate.unlink()
    declare_dead(database, "first")
    with worker(tmp_path, "second"):
        assert ended(database, job_id).status == "done"


def test_failed_job_tells_why_and_the_worker_goes_on(database: Database, tmp_path: Path) -> None:
    failing = ask(database, {"units": 4, "fails_at": 2})
    following = ask(database, {"units": 2})
    with worker(tmp_path):
        assert ended(database, failing).details[-1] == "RuntimeError: planted"
        assert ended(database, following).status == "done"


def test_stopped_job_ends_as_canceled(database: Database, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gate")
    job_id = ask(database, {"units": 1000, "waits_at": 2})
    with worker(tmp_path):
        with (tmp_path / "gate").open("w"), database.writing() as session:
            jobs.cancel(session, job_id, now=time.time())
        assert ended(database, job_id).status == "canceled"
    assert len((tmp_path / f"{job_id}.txt").read_text().split()) == 3


def test_worker_name_is_held_by_one_process_only(tmp_path: Path) -> None:
    with WorkerLock(tmp_path, "worker-0"), pytest.raises(ConflictError, match="worker-0"):
        WorkerLock(tmp_path, "worker-0")
    with WorkerLock(tmp_path, "worker-0"):
        pass
