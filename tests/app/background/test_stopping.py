"""Workers in real processes that are asked to stop, at moments that no clock decides."""

import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from app import jobs
from app.background.presence import has_left
from app.background.shift import StopSignals
from app.store.database import Database
from app.store.tables import JobRow, Json, WorkerRow
from tests.app.background.counting_worker import LOG_NAME
from tests.app.background.test_durability import database, ended, worker
from tests.server.waiting import wait_until

__all__ = ["database"]

_LONGEST_S = 60.0


def ask(database: Database, kind: jobs.JobKind, request: Json) -> str:
    with database.writing() as session:
        return jobs.request_job(session, kind, request, now=1.0).id


def rows(database: Database, job_ids: Sequence[str]) -> list[JobRow]:
    with database.reading() as session:
        return [jobs.get_job(session, job_id) for job_id in job_ids]


def numbers(data: Path, job_id: str) -> list[int]:
    return [int(line) for line in (data / f"{job_id}.txt").read_text().split()]


def test_units_end_and_jobs_go_on_with_the_next_worker(database: Database, tmp_path: Path) -> None:
    for gate in ("gate", "gate-of-one-who-waits"):
        os.mkfifo(tmp_path / gate)
    long = ask(database, "score", {"units": 6, "waits_at": 3})
    short = ask(database, "predict", {"units": 4, "waits_at": 1, "gate": "gate-of-one-who-waits"})
    with worker(tmp_path) as process:
        # Opening a gate returns when the worker waits at it.
        with (tmp_path / "gate").open("w"), (tmp_path / "gate-of-one-who-waits").open("w"):
            process.send_signal(signal.SIGTERM)
            wait_until(lambda: "was asked to stop" in (tmp_path / LOG_NAME).read_text())
        assert process.wait(_LONGEST_S) == 0
    given_back, answered = rows(database, [long, short])
    # Somebody waits for a prediction: it is run to its end.
    assert (answered.status, numbers(tmp_path, short)) == ("done", [0, 1, 2, 3])
    assert (given_back.status, given_back.started_at) == ("queued", None)
    assert given_back.details[-1] == "the worker was stopped; waiting for one"
    # The unit under way ended, and no other began.
    assert numbers(tmp_path, long) == [0, 1, 2, 3]
    assert given_back.progress == pytest.approx(4 / 6)
    with worker(tmp_path):
        assert ended(database, long).status == "done"
    assert numbers(tmp_path, long) == [0, 1, 2, 3, 4, 5]


def test_a_unit_that_takes_too_long_is_left_to_the_next_worker(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "gate")
    job_id = ask(database, "score", {"units": 3, "waits_at": 1})
    monkeypatch.setenv("CACLABEL_SHUTDOWN_SECONDS", "0.2")
    with worker(tmp_path) as process, (tmp_path / "gate").open("w"):
        process.send_signal(signal.SIGTERM)
        # The gate stays closed.
        assert process.wait(_LONGEST_S) == 0
    (job,) = rows(database, [job_id])
    assert (job.status, job.worker_id) == ("queued", "worker-0")
    # Others take over at once what was given back.
    with database.reading() as session:
        seen_at = session.get_one(WorkerRow, "worker-0").seen_at
    assert has_left(seen_at)


@pytest.fixture
def exits(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Return the exit codes with which this process would have ended by now."""
    codes: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    monkeypatch.setattr(os, "_exit", codes.append)
    yield codes
    for number, handler in before.items():
        signal.signal(number, handler)


def test_asked_twice_a_worker_ends_at_once(exits: list[int]) -> None:
    stop = StopSignals()
    stop.install()
    stop.has_work = True
    signal.raise_signal(signal.SIGTERM)
    assert (stop.is_wanted, exits) == (True, [])
    signal.raise_signal(signal.SIGINT)
    # 128 and the number of SIGINT, as shells tell it.
    assert exits == [130]


def test_a_worker_of_a_server_is_asked_by_both(exits: list[int]) -> None:
    stop = StopSignals(is_patient=True)
    stop.install()
    stop.has_work = True
    signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGTERM)
    assert (stop.is_wanted, exits) == (True, [])


def test_a_worker_that_has_begun_nothing_ends_at_once(exits: list[int]) -> None:
    StopSignals().install()
    signal.raise_signal(signal.SIGTERM)
    assert exits == [0]
