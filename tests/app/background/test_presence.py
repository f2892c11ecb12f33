"""Which workers are there."""

from app.background.presence import ALIVE_WITHIN_S, known_workers
from app.store.tables import WorkerRow
from tests.app.conftest import Deployment


def test_a_worker_is_alive_for_a_while_after_its_last_sign(deployment: Deployment) -> None:
    with deployment.database.writing() as session:
        session.add(WorkerRow(id="old", seen_at=100.0 - ALIVE_WITHIN_S, started_at=0.0))
        session.add(WorkerRow(id="new", seen_at=100.1 - ALIVE_WITHIN_S, started_at=0.0))
    with deployment.database.reading() as session:
        found = {worker.id: worker.is_alive for worker in known_workers(session, now=100.0)}
    assert found == {"new": True, "old": False}


def test_a_sign_of_before_the_clock_was_set_back_proves_nothing(deployment: Deployment) -> None:
    with deployment.database.writing() as session:
        session.add(WorkerRow(id="dead", seen_at=5000.0, started_at=0.0))
    with deployment.database.reading() as session:
        assert not known_workers(session, now=100.0)[0].is_alive


def test_nobody_is_known_at_first(deployment: Deployment) -> None:
    with deployment.database.reading() as session:
        assert known_workers(session, now=1.0) == []
