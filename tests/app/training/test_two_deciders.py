"""A training that ends while a person decides, on a database with many writers."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import text

from app import jobs, model_versions
from app.background.work import WorkContext
from app.promotion.results import Results
from app.settings import Settings
from app.store.database import Database
from app.store.files import FileStore
from app.store.tables import JobRow, ModelVersionRow
from app.training.judging import Judgement
from app.training.outcome import settle
from app.training.plan import TrainingPlan
from tests.journeys.postgresql import postgresql, postgresql_programs
from tests.server.waiting import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(postgresql_programs() is None, reason="PostgreSQL is not installed"),
]

_PLAN = TrainingPlan((1,), (), (1,), "fresh", 1, "", "")
_WAITING = text("SELECT count(*) FROM pg_locks WHERE NOT granted")


@pytest.fixture
def context(tmp_path: Path) -> Iterator[WorkContext]:
    with postgresql() as root:
        database = Database(f"{root}/caclabel")
        database.migrate()
        settings = Settings(data=tmp_path)
        yield WorkContext(settings, database, FileStore(settings.files), "cpu")
        database.close()


def add_version(context: WorkContext, *, is_active: bool = False) -> tuple[ModelVersionRow, JobRow]:
    with context.database.writing() as session:
        job = jobs.request_job(session, "train", {}, now=1.0)
        # Only a version whose training has ended can be promoted.
        jobs.finish(session, job.id, "done", [], now=2.0)
        row = ModelVersionRow(
            job_id=job.id, sha256="", card={}, label_count=1, is_active=is_active, created_at=1.0
        )
        session.add(row)
    path = model_versions.weights_path(context.settings, job.id)
    path.parent.mkdir(exist_ok=True)
    path.touch()
    return row, job


def test_the_end_of_a_training_does_not_overrule_a_person(context: WorkContext) -> None:
    champion, _ = add_version(context, is_active=True)
    wanted, _ = add_version(context)
    challenger, job = add_version(context)
    nothing = Results(())
    with ThreadPoolExecutor(1) as pool:
        with context.database.writing() as session:
            model_versions.promote(
                session, context.settings, wanted.id, actor="dr-a", now=3.0, reason=""
            )
            ending = pool.submit(
                settle,
                context,
                job,
                _PLAN,
                challenger,
                champion.id,
                Judgement(nothing, nothing, 0),
            )
            with context.database.reading() as other:
                # The training's end waits for the person's transaction, before or after it looked
                # which version answers.
                wait_until(lambda: bool(other.scalar(_WAITING)))
        assert ending.result(30.0) is None
    with context.database.reading() as session:
        active = model_versions.active(session)
    assert active is not None
    assert active.id == wanted.id
