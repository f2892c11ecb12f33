from dataclasses import replace

import pytest
from sqlalchemy import delete, select
from sqlalchemy.orm import make_transient

from app import jobs
from app.background.work import WorkContext
from app.store.tables import JobRow, LabelRow
from app.training.trigger import note_seen, request_training_if_due
from tests.app.conftest import Deployment
from tests.app.training.labeled import add_label, add_labeled
from tests.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock(0.0)


@pytest.fixture
def context(deployment: Deployment, clock: Clock) -> WorkContext:
    settings = deployment.settings.model_copy(
        update={"train_every": 2, "train_quiet_seconds": 60.0, "first_training": 2}
    )
    return WorkContext(settings, deployment.database, deployment.files, "cpu", clock)


def look(context: WorkContext, clock: Clock, at: float) -> bool:
    clock.now = at
    return request_training_if_due(context)


def label(context: WorkContext, number: int, at: float) -> None:
    with context.database.writing() as session:
        add_labeled(session, number, at=at)


def read(context: WorkContext) -> None:
    """Let the queued training read its labels."""
    with context.database.writing() as session:
        job = session.scalars(select(JobRow).where(JobRow.status == "queued")).one()
        note_seen(session, job.id)
        job.status = "running"


def end(context: WorkContext) -> None:
    with context.database.writing() as session:
        session.scalars(select(JobRow).where(JobRow.status == "running")).one().status = "done"


def trainings(context: WorkContext) -> list[JobRow]:
    with context.database.reading() as session:
        return list(session.scalars(select(JobRow).order_by(JobRow.created_at)))


def test_starts_after_enough_labels_and_a_while_of_quiet(
    context: WorkContext, clock: Clock
) -> None:
    label(context, 0, at=100.0)
    assert not look(context, clock, 1000.0)
    label(context, 1, at=1000.0)
    assert not look(context, clock, 1059.0)
    assert look(context, clock, 1060.0)
    assert trainings(context)[0].request == {
        "model": "calcium",
        "options": {},
        "labels_seen": [[1, 2]],
    }


def test_every_label_begins_the_quiet_anew(context: WorkContext, clock: Clock) -> None:
    for number, at in enumerate((0.0, 50.0, 100.0)):
        label(context, number, at=at)
    assert not look(context, clock, 110.0)
    assert look(context, clock, 160.0)


def test_a_clock_that_was_set_back_is_not_waited_for(context: WorkContext, clock: Clock) -> None:
    for number in range(2):
        label(context, number, at=100_000.0)
    assert look(context, clock, 50_000.0)


def test_an_annotator_who_never_rests_is_not_waited_for(context: WorkContext, clock: Clock) -> None:
    for number in range(4):
        label(context, number, at=1.0 + number)
    assert look(context, clock, 5.0)


def test_one_training_at_a_time(context: WorkContext, clock: Clock) -> None:
    for number in range(2):
        label(context, number, at=1.0)
    assert look(context, clock, 100.0)
    read(context)
    for number in range(2, 9):
        label(context, number, at=101.0)
    assert not look(context, clock, 1000.0)
    end(context)
    assert look(context, clock, 1000.0)
    assert len(trainings(context)) == 2


def test_labels_that_a_training_has_seen_do_not_count(context: WorkContext, clock: Clock) -> None:
    for number in range(2):
        label(context, number, at=1.0)
    assert look(context, clock, 100.0)
    # It waited in the queue, and began when more labels had come.
    for number in range(2, 5):
        label(context, number, at=101.0)
    read(context)
    end(context)
    assert not look(context, clock, 1000.0)


def test_labels_that_were_committed_late_count_whatever_their_time(
    context: WorkContext, clock: Clock
) -> None:
    for number in range(2):
        label(context, number, at=1.0)
    assert look(context, clock, 100.0)
    read(context)
    end(context)
    # Submitted before the training began, written down after it had read its labels.
    for number in range(2, 4):
        label(context, number, at=50.0)
    assert look(context, clock, 1000.0)


def test_ids_that_came_late_between_others_count(context: WorkContext, clock: Clock) -> None:
    """With PostgreSQL a label can be committed after one with a higher id."""
    for number in range(4):
        label(context, number, at=1.0)
    with context.database.writing() as session:
        late = [session.get_one(LabelRow, row) for row in (1, 3)]
        for row in late:
            session.expunge(row)
        session.execute(delete(LabelRow).where(LabelRow.id.in_([1, 3])))
    assert look(context, clock, 100.0)
    assert trainings(context)[0].request["labels_seen"] == [[2, 2], [4, 4]]
    read(context)
    end(context)
    assert not look(context, clock, 1000.0)
    with context.database.writing() as session:
        for row in late:
            make_transient(row)
            session.add(row)
    assert look(context, clock, 1000.0)


def test_a_label_of_an_image_seen_before_counts(context: WorkContext, clock: Clock) -> None:
    for number in range(2):
        label(context, number, at=1.0)
    assert look(context, clock, 100.0)
    read(context)
    end(context)
    with context.database.writing() as session:
        for number in range(2):
            add_label(session, f"image-{number}", version=2)
    assert look(context, clock, 1000.0)


def test_a_training_that_read_nothing_leaves_its_labels_for_the_next(
    context: WorkContext, clock: Clock
) -> None:
    for number in range(2):
        label(context, number, at=1.0)
    # Somebody asked for a training, and stopped it before it began.
    with context.database.writing() as session:
        job = jobs.request_job(session, "train", {"options": {}}, now=50.0)
        jobs.cancel(session, job.id, now=51.0)
    assert look(context, clock, 100.0)


def test_two_workers_ask_once(context: WorkContext, clock: Clock) -> None:
    for number in range(2):
        label(context, number, at=1.0)
    other = replace(context, settings=context.settings.model_copy(update={"worker_id": "other"}))
    clock.now = 100.0
    assert [request_training_if_due(worker) for worker in (context, other)] == [True, False]


def test_a_training_for_the_same_labels_is_never_asked_for_twice(
    context: WorkContext, clock: Clock
) -> None:
    for number in range(2):
        label(context, number, at=1.0)
    assert look(context, clock, 100.0)
    # Two workers of a database without one writer at a time: the other's row is not seen as
    # open or latest, only its id is taken.
    with context.database.writing() as session:
        job = session.scalars(select(JobRow)).one()
        job.kind, job.status = "score", "done"
    assert not look(context, clock, 100.0)
    assert len(trainings(context)) == 1


def test_a_stopped_training_waits_for_new_labels(context: WorkContext, clock: Clock) -> None:
    for number in range(2):
        label(context, number, at=1.0)
    assert look(context, clock, 100.0)
    with context.database.writing() as session:
        jobs.cancel(session, session.scalars(select(JobRow.id)).one(), now=101.0)
    assert not look(context, clock, 1000.0)


def test_counts_images_and_not_versions(context: WorkContext, clock: Clock) -> None:
    label(context, 0, at=1.0)
    with context.database.writing() as session:
        for version in (2, 3):
            add_label(session, "image-0", version=version)
    assert not look(context, clock, 1000.0)


@pytest.mark.parametrize("change", [{"train_every": 0}, {"first_training": 3}])
def test_waits_for_the_setting_and_the_first_labels(
    context: WorkContext, clock: Clock, change: dict[str, int]
) -> None:
    for number in range(2):
        label(context, number, at=1.0)
    settings = context.settings.model_copy(update=change)
    assert not look(replace(context, settings=settings), clock, 1000.0)
