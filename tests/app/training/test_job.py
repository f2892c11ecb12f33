"""Trainings judged on real predictions; the networks are planted where only the gate matters."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import func, select

from app import audit, jobs, model_versions
from app.background.work import Progress, StoppedError, Turns, WorkContext
from app.store.tables import AuditRow, JobRow, PredictionRow
from app.training.job import train
from tests.app.conftest import Deployment
from tests.app.training import planted

LABELS, VALIDATION = 5, 3


@pytest.fixture
def context(deployment: Deployment, tmp_path: Path) -> WorkContext:
    return planted.judging_context(deployment, tmp_path, labels=LABELS, validation=VALIDATION)


def predictions(context: WorkContext) -> int:
    with context.database.reading() as session:
        return session.scalar(select(func.count()).select_from(PredictionRow)) or 0


def trail(context: WorkContext) -> list[tuple[str, str]]:
    with context.database.reading() as session:
        rows = session.scalars(select(AuditRow).order_by(AuditRow.id)).all()
    return [(row.action, row.subject) for row in rows if row.subject.startswith("model version")]


def kill_after(context: WorkContext, job: JobRow, is_there: Callable[[str], bool]) -> None:
    """Run a job until a line appears, and let nothing of it be left but what is on disk."""
    work = train(context, job)
    while True:
        progress, _ = planted.advance(context, job, work)
        assert progress is not None
        if is_there(progress.line or ""):
            return


def test_a_worse_version_is_kept_back(context: WorkContext) -> None:
    first = planted.add_version(context, "all")
    second = planted.add_version(context, "nothing")
    assert (first.is_active, second.is_active) == (True, False)
    assert second.reason.startswith("kept back: calcium volume F1 0.00 against 1.00 of version 1")
    assert trail(context) == [
        ("promote", "model version 1"),
        ("keep back", "model version 2"),
    ]
    assert second.decision is not None
    assert second.decision["champion_id"] == first.id
    assert second.card["metrics"]["volume_f1"] == 0.0


def test_a_better_version_is_promoted(context: WorkContext) -> None:
    first = planted.add_version(context, "nothing")
    second = planted.add_version(context, "all")
    with context.database.reading() as session:
        active = model_versions.active(session)
    assert active is not None
    assert active.id == second.id
    assert first.decision is not None
    assert first.decision["reason"].startswith("promoted: the first version")
    assert second.reason.startswith("promoted: calcium volume F1 1.00 against 0.00 of version 1")


def test_a_guard_refuses_what_the_volume_does_not_show(context: WorkContext) -> None:
    planted.add_version(context, "all")
    second = planted.add_version(context, "wrong artery")
    assert second.reason.startswith("kept back: error of log(1 + Agatston) in the LAD")
    assert not second.is_active


def test_predictions_of_the_judging_are_made_once(context: WorkContext) -> None:
    planted.add_version(context, "all")
    first = predictions(context)
    assert first > 0
    planted.add_version(context, "nothing")
    # The version that answers is measured again, by what it predicted before.
    assert predictions(context) == 2 * first


def test_a_judging_that_was_killed_goes_on_and_decides_once(context: WorkContext) -> None:
    planted.add_version(context, "all")
    job = planted.request(context)
    planted.plant(context, job, "nothing")
    kill_after(context, job, lambda line: line.startswith("judged on 1 of"))
    before = predictions(context)
    lines, result = planted.run(context, job)
    assert lines[0].startswith("judged on 1 of")
    assert predictions(context) > before
    assert result["is_promoted"] is False
    # A worker that was killed after the decision, before the job's end was noted.
    again, same = planted.run(context, job)
    assert (again, same["reason"]) == ([], result["reason"])
    assert len(trail(context)) == 2


def test_a_version_that_answers_meanwhile_is_the_one_to_beat(context: WorkContext) -> None:
    planted.add_version(context, "nothing")
    better = planted.add_version(context, "all")
    with context.database.writing() as session:
        model_versions.roll_back(
            session, context.settings, expected_active=better.id, actor="a", now=5.0, reason=""
        )
    job = planted.request(context)
    third = planted.plant(context, job, "nothing")
    work = train(context, job)
    planted.advance(context, job, work)
    with context.database.writing() as session:
        model_versions.promote(session, context.settings, better.id, actor="a", now=6.0, reason="")
    while planted.advance(context, job, work)[0] is not None:
        pass
    kept = planted.versions(context)[-1]
    assert kept.id == third.id
    assert kept.decision is not None
    assert (kept.decision["champion_id"], kept.is_active) == (better.id, False)


def test_a_stopped_judging_decides_nothing(context: WorkContext) -> None:
    planted.add_version(context, "all")
    job = planted.request(context)
    planted.plant(context, job, "nothing")
    work = train(context, job)
    planted.advance(context, job, work)
    with context.database.writing() as session:
        jobs.cancel(session, job.id, now=5.0)
    with pytest.raises(StoppedError):
        list(work)
    assert planted.versions(context)[-1].decision is None
    assert len(trail(context)) == 1


class Impatient(Turns):
    """Stops whoever gives way for the second time."""

    calls = 0

    def give_way(self) -> None:
        self.calls += 1
        if self.calls > 1:
            raise StoppedError


def test_a_judging_can_be_stopped_within_an_image(context: WorkContext) -> None:
    job = planted.request(context)
    planted.plant(context, job, "nothing")
    with pytest.raises(StoppedError):
        next(train(replace(context, turns=Impatient()), job))
    assert predictions(context) == 0


def test_a_stop_while_cases_are_loaded_ends_the_training(context: WorkContext) -> None:
    job = planted.request(context, max_epochs=1)
    work = train(context, job)
    assert next(work).line is not None
    with context.database.writing() as session:
        jobs.cancel(session, job.id, now=5.0)
    with pytest.raises(StoppedError):
        next(work)
    assert not list(context.settings.runs.glob("*/labels/*-lesion.npy"))


@pytest.mark.slow
def test_training_ends_with_a_judged_version_and_removes_its_folder(context: WorkContext) -> None:
    planted.add_version(context, "nothing")
    job = planted.request(context, max_epochs=1, start="warm")
    kill_after(context, job, lambda line: line.startswith("epoch 1/1"))
    lines, result = planted.run(context, job)
    assert any(line == "going on after epoch 1" for line in lines)
    assert "choosing how sure of a lesion to be" in lines
    version = planted.versions(context)[-1]
    assert version.id == result["model_version"]
    assert version.card["start"] == "warm"
    assert version.card["start_reason"] == "from version 1"
    assert version.parent_id == 1
    assert version.decision is not None
    labels = set(version.card["training_labels"]) | set(version.card["validation_labels"])
    assert labels == set(range(1, LABELS + 1))
    assert not (context.settings.runs / job.id).exists()
    with context.database.reading() as session:
        assert jobs.get_job(session, job.id).details[-1] == version.reason
        assert audit.recent(session)[0].change["reason"] == version.reason


@pytest.mark.slow
def test_a_stop_while_it_is_chosen_how_sure_to_be_leaves_no_version(context: WorkContext) -> None:
    job = planted.request(context, max_epochs=1)
    work = train(context, job)
    while True:
        progress, _ = planted.advance(context, job, work)
        assert progress is not None
        if progress.line == "choosing how sure of a lesion to be":
            break
    progress, _ = planted.advance(context, job, work)
    assert progress == Progress(1 / VALIDATION)
    with context.database.writing() as session:
        jobs.cancel(session, job.id, now=5.0)
    with pytest.raises(StoppedError):
        planted.advance(context, job, work)
    assert not planted.versions(context)


def test_weights_of_another_network_are_left_aside(context: WorkContext) -> None:
    first = planted.add_version(context, "all")
    path = model_versions.weights_path(context.settings, first.job_id)
    path.unlink()
    job = planted.request(context, max_epochs=1, start="warm")
    kill_after(context, job, lambda line: line == "starting")


def test_the_later_of_two_trainings_waits(context: WorkContext) -> None:
    job = planted.request(context)
    planted.plant(context, job, "all")
    other = planted.with_settings(context, worker_id="other")
    later = planted.request(other, max_epochs=1)
    with context.database.writing() as session:
        jobs.get_job(session, later.id).started_at = 3.5
        jobs.get_job(session, later.id).is_cancel_requested = True
    # It waits, and can be stopped while it does.
    with pytest.raises(StoppedError):
        next(train(other, later))
    first = next(train(context, job))
    assert isinstance(first, Progress)
