import pytest

from app import jobs
from app.errors import NotFoundError
from tests.app.conftest import Deployment


def test_queued_job_is_canceled_at_once_and_never_starts(deployment: Deployment) -> None:
    with deployment.database.writing() as session:
        job = jobs.request_job(session, "score", {}, now=1.0)
        assert jobs.cancel(session, job.id, now=2.0).status == "canceled"
        assert not jobs.start(session, job.id, "worker-0", now=3.0)
        assert job.ended_at == 2.0


def test_running_job_is_asked_to_stop(deployment: Deployment) -> None:
    with deployment.database.writing() as session:
        job = jobs.request_job(session, "score", {}, now=1.0)
        assert jobs.start(session, job.id, "worker-0", now=2.0)
        assert jobs.report(session, job.id, 0.5)
        assert jobs.cancel(session, job.id, now=3.0).status == "running"
        assert jobs.is_cancel_requested(session, job.id)
        assert not jobs.report(session, job.id, 0.6)


def test_job_keeps_its_first_start_and_its_last_lines(deployment: Deployment) -> None:
    with deployment.database.writing() as session:
        job = jobs.request_job(session, "score", {}, now=1.0)
        jobs.start(session, job.id, "worker-0", now=2.0)
        jobs.start(session, job.id, "worker-1", now=9.0)
        for number in range(30):
            jobs.report(session, job.id, 0.0, f"line {number}")
    assert (job.started_at, job.worker_id) == (2.0, "worker-1")
    assert job.details == [f"line {number}" for number in range(10, 30)]


def test_ended_job_stays_as_it_ended(deployment: Deployment) -> None:
    with deployment.database.writing() as session:
        job = jobs.request_job(session, "score", {}, now=1.0)
        jobs.finish(session, job.id, "done", [], now=2.0, result={"images": 3})
        jobs.finish(session, job.id, "failed", ["late"], now=5.0)
    assert (job.status, job.result, job.ended_at) == ("done", {"images": 3}, 2.0)


def test_unknown_job_is_not_found(deployment: Deployment) -> None:
    with deployment.database.reading() as session, pytest.raises(NotFoundError, match="no job"):
        jobs.get_job(session, "nothing")
