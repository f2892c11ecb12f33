"""Jobs in the middle of which workers die, as the kernel lets them for lack of memory."""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app import jobs
from app.background.job_bench import JobBench
from app.background.work import Progress, Units, WorkContext
from app.store.tables import JobRow, Json
from server.supervisor import Supervisor
from tests.app.background.test_durability import ask
from tests.app.conftest import Deployment
from tests.server.waiting import wait_until

_DEADLINE_S = 30.0

_START_S = 240.0
"""Longest wait for workers: each start takes a while on a busy machine."""


@pytest.fixture
def context(deployment: Deployment) -> WorkContext:
    return WorkContext(deployment.settings, deployment.database, deployment.files, "cpu")


@contextmanager
def supervised(data: Path) -> Iterator[None]:
    """Keep a real worker alive as the server does."""
    command = [sys.executable, "-m", "tests.app.background.counting_worker", str(data), "worker-0"]
    supervisor = Supervisor(command, os.environ, first_pause_s=0.01)
    supervisor.start()
    try:
        yield
    finally:
        supervisor.stop()


def request(context: WorkContext, kind: jobs.JobKind = "score", **wanted: object) -> str:
    with context.database.writing() as session:
        return jobs.request_job(session, kind, wanted, now=1.0).id


def start(context: WorkContext, job_id: str, times: int = 1) -> list[bool]:
    """Let so many workers take up a job, each after the one before died."""
    taken = []
    for _ in range(times):
        with context.database.writing() as session:
            taken.append(jobs.start(session, job_id, "worker-0", now=2.0))
    return taken


def report(context: WorkContext, job_id: str, progress: Progress) -> None:
    context.report(job_id, progress)


def row(context: WorkContext, job_id: str) -> JobRow:
    with context.database.reading() as session:
        return jobs.get_job(session, job_id)


def test_a_job_that_kills_every_worker_is_given_up_and_others_go_on(
    context: WorkContext,
) -> None:
    data = context.settings.data
    killer = ask(context.database, {"units": 3, "dies_at": 1})
    follower = ask(context.database, {"units": 2})
    # As after all deaths but one, which would take a test too long.
    with context.database.writing() as session:
        job = jobs.get_job(session, killer)
        job.attempts, job.reached = jobs.MOST_DEATHS - 1, 1 / 3
    (data / f"{killer}.txt").write_text("0\n")
    with supervised(data):
        wait_until(lambda: row(context, follower).status == "done", _START_S)
    given_up = row(context, killer)
    assert given_up.status == "failed"
    assert "the worker died 5 times in a row in the middle of this" in given_up.details[-1]
    assert (data / f"{killer}.txt").read_text().split() == ["0"]


def test_it_takes_as_many_deaths_as_are_allowed(context: WorkContext) -> None:
    job_id = request(context)
    assert start(context, job_id, jobs.MOST_DEATHS) == [True] * jobs.MOST_DEATHS
    assert row(context, job_id).status == "running"
    assert start(context, job_id) == [False]
    assert row(context, job_id).status == "failed"


def test_a_job_that_gets_further_is_cleared(context: WorkContext) -> None:
    job_id = request(context)
    start(context, job_id, jobs.MOST_DEATHS)
    # What was reached before proves nothing; a later stage does, though its fraction is smaller.
    report(context, job_id, Progress(0.0, "begun again"))
    assert row(context, job_id).attempts == jobs.MOST_DEATHS
    report(context, job_id, Progress(0.5))
    assert start(context, job_id, jobs.MOST_DEATHS - 1)[-1]
    report(context, job_id, Progress(0.5))
    assert row(context, job_id).attempts == jobs.MOST_DEATHS
    report(context, job_id, Progress(0.1, stage=1))
    assert start(context, job_id) == [True]


def test_a_worker_that_is_stopped_orderly_has_not_died(context: WorkContext) -> None:
    job_id = request(context)
    for _ in range(jobs.MOST_DEATHS + 1):
        assert start(context, job_id) == [True]
        with context.database.writing() as session:
            jobs.give_back(session, "worker-0")


def test_the_images_after_the_deadly_one_are_asked_for_again(context: WorkContext) -> None:
    wanted: Json = {"model_version": 1, "images": ["a", "b", "deadly", "d", "e"]}
    job_id = request(context, "score", **wanted)
    start(context, job_id)
    report(context, job_id, Progress(2 / 5))
    start(context, job_id, jobs.MOST_DEATHS)
    with context.database.reading() as session:
        rest = jobs.running(session, "score")
    assert rest is not None
    assert rest.request == {"model_version": 1, "images": ["d", "e"]}


def test_jobs_under_suspicion_run_one_at_a_time_until_they_get_further(
    context: WorkContext,
) -> None:
    inside, most, gate = list[str](), list[int](), threading.Event()
    first_in = threading.Event()

    def unit(_context: WorkContext, job: JobRow) -> Units:
        inside.append(job.id)
        most.append(len(inside))
        first_in.set()
        assert gate.wait(_DEADLINE_S)
        inside.remove(job.id)
        yield Progress(1.0)
        return {}

    jobs_here = [request(context, "train"), request(context, "score")]
    for job_id in jobs_here:
        start(context, job_id)
    # Another process than the one that began them.
    bench = JobBench(context, {"train": unit, "score": unit})
    threads = [threading.Thread(target=bench.advance, args=(job_id,)) for job_id in jobs_here]
    for thread in threads:
        thread.start()
    assert first_in.wait(_DEADLINE_S)
    fresh = request(context, "predict")
    assert bench.begin(fresh)
    # Bounded from below only: a second one that does not wait is inside at once.
    threads[1].join(0.2)
    gate.set()
    for thread in threads:
        thread.join(_DEADLINE_S)
    assert most == [1, 1]
    assert bench.advance(jobs_here[0]) is False
    assert row(context, jobs_here[0]).status == "done"
