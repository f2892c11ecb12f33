"""The time of day is set forward or back by hours while people and workers are busy."""

from pathlib import Path

import pytest
from sqlalchemy import select

from app import jobs, samples, studies
from app.background.presence import DEAD_AFTER_S, DeathWatch, sign_of_leaving
from app.background.set_back import SetBackWatch
from app.background.work import WorkContext
from app.pacs.sync import request_sync_if_due
from app.store.tables import ExportRow, JobRow, LabelRow, LeaseRow, WorkerRow
from tests.app.conftest import Deployment
from tests.app.pool import add_image, label_row
from tests.app.submitting import submit_label
from tests.clock import Clock
from tests.factories import make_grid, make_labels, write_itk

HOURS_S = 5 * 3600.0


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def steady() -> Clock:
    return Clock(100.0)


@pytest.fixture
def context(deployment: Deployment, clock: Clock) -> WorkContext:
    return WorkContext(deployment.settings, deployment.database, deployment.files, "cpu", clock)


@pytest.fixture
def watch(context: WorkContext, steady: Clock) -> SetBackWatch:
    watch = SetBackWatch(context, steady_clock=steady)
    watch.look()
    return watch


def sign(context: WorkContext, at: float) -> None:
    with context.database.writing() as session:
        session.merge(WorkerRow(id="other", seen_at=at, started_at=1.0))


def dead(context: WorkContext, deaths: DeathWatch) -> list[str]:
    with context.database.reading() as session:
        return deaths.dead(session)


def set_back(clock: Clock, watch: SetBackWatch) -> None:
    clock.now -= HOURS_S
    assert watch.look()


def pass_time(seconds: float, *clocks: Clock) -> None:
    for clock in clocks:
        clock.now += seconds


class TestDeaths:
    @pytest.mark.parametrize("jump_s", [HOURS_S, -HOURS_S])
    def test_a_clock_that_jumps_makes_nobody_dead(
        self, context: WorkContext, clock: Clock, steady: Clock, jump_s: float
    ) -> None:
        deaths = DeathWatch(steady_clock=steady)
        sign(context, clock())
        assert dead(context, deaths) == []
        pass_time(5.0, clock, steady)
        clock.now += jump_s
        # The other worker's last sign is of before the jump.
        assert dead(context, deaths) == []
        sign(context, clock())
        pass_time(DEAD_AFTER_S - 1.0, clock, steady)
        assert dead(context, deaths) == []

    def test_a_worker_without_a_new_sign_is_dead(self, context: WorkContext, steady: Clock) -> None:
        deaths = DeathWatch(steady_clock=steady)
        sign(context, 1000.0)
        assert dead(context, deaths) == []
        pass_time(DEAD_AFTER_S - 1.0, steady)
        sign(context, 1001.0)
        assert dead(context, deaths) == []
        pass_time(DEAD_AFTER_S - 1.0, steady)
        assert dead(context, deaths) == []
        pass_time(1.0, steady)
        assert dead(context, deaths) == ["other"]

    def test_one_that_has_left_is_not_waited_for(self, context: WorkContext) -> None:
        sign(context, sign_of_leaving(1000.0))
        assert dead(context, DeathWatch()) == ["other"]


class TestNoticing:
    def test_a_clock_that_goes_is_left_alone(
        self, clock: Clock, steady: Clock, watch: SetBackWatch
    ) -> None:
        pass_time(3600.0, clock, steady)
        assert not watch.look()
        # Corrected bit by bit, or set forward.
        clock.now -= 1.0
        assert not watch.look()
        clock.now += HOURS_S
        assert not watch.look()
        # And back to the right time.
        clock.now -= HOURS_S
        assert watch.look()
        assert not watch.look()

    def test_what_was_set_back_while_no_worker_ran_is_noticed_by_the_next(
        self, context: WorkContext, clock: Clock, steady: Clock
    ) -> None:
        with context.database.writing() as session:
            job = jobs.request_job(session, "scan", {}, now=clock() + HOURS_S)
        SetBackWatch(context, steady_clock=steady).look()
        with context.database.reading() as session:
            assert jobs.get_job(session, job.id).created_at == clock()


def syncs(context: WorkContext) -> int:
    with context.database.reading() as session:
        return len(jobs.history(session, "sync"))


def end_open(context: WorkContext, status: jobs.EndStatus = "done") -> None:
    with context.database.writing() as session:
        for job in session.scalars(select(JobRow).where(JobRow.status.in_(jobs.OPEN))):
            jobs.start(session, job.id, "worker-0", now=context.clock())
            jobs.finish(session, job.id, status, [], now=context.clock())


class TestWaiting:
    def test_a_pacs_is_looked_at_after_its_pause_and_no_more_often(
        self, deployment: Deployment, clock: Clock, watch: SetBackWatch
    ) -> None:
        settings = deployment.settings.model_copy(update={"studies": "http://127.0.0.1:1/dicom"})
        context = WorkContext(settings, deployment.database, deployment.files, "cpu", clock)
        request_sync_if_due(context)
        end_open(context)
        set_back(clock, watch)
        request_sync_if_due(context)
        assert syncs(context) == 1
        clock.now += settings.pacs_sync_seconds
        request_sync_if_due(context)
        end_open(context)
        # The newest is the one of after the clock was set back.
        clock.now += 2.0
        request_sync_if_due(context)
        assert syncs(context) == 2

    def test_a_failed_scan_is_repeated_after_its_pause(
        self, context: WorkContext, clock: Clock, watch: SetBackWatch
    ) -> None:
        studies.request_scan_if_due(context)
        end_open(context, "failed")
        set_back(clock, watch)
        assert not studies.request_scan_if_due(context)
        clock.now += 60.0
        assert studies.request_scan_if_due(context)

    def test_a_scan_during_which_the_clock_was_set_forward_took_no_hours(
        self, context: WorkContext, clock: Clock
    ) -> None:
        studies.request_scan_if_due(context)
        with context.database.writing() as session:
            job = jobs.latest(session, "scan")
            assert job is not None
            jobs.start(session, job.id, "worker-0", now=clock())
            clock.now += HOURS_S
            jobs.finish(session, job.id, "failed", [], now=clock())
        clock.now += 3600.0
        assert studies.request_scan_if_due(context)

    def test_a_label_is_stored_in_the_pacs_without_waiting_for_hours(
        self, context: WorkContext, clock: Clock, watch: SetBackWatch
    ) -> None:
        with context.database.writing() as session:
            add_image(session, "a")
            label = label_row("a")
            session.add(label)
            session.flush()
            session.add(ExportRow(label_id=label.id, status="waiting", next_at=clock() + 60.0))
        set_back(clock, watch)
        with context.database.reading() as session:
            assert session.scalars(select(ExportRow.next_at)).one() == clock()

    def test_jobs_keep_their_order(
        self, context: WorkContext, clock: Clock, watch: SetBackWatch
    ) -> None:
        with context.database.writing() as session:
            asked = [
                jobs.request_job(session, "score", {}, now=clock() + number).id
                for number in range(3)
            ]
        set_back(clock, watch)
        clock.now += 1.0
        with context.database.writing() as session:
            asked.append(jobs.request_job(session, "score", {}, now=clock()).id)
            assert [job.id for job in jobs.undispatched(session)] == asked


def serve(context: WorkContext, client: str) -> None:
    with context.database.writing() as session:
        samples.assign_next(
            session,
            strategy="first",
            client_id=client,
            options={},
            settings=context.settings,
            now=context.clock(),
        )


class TestLeases:
    def test_end_in_time_after_the_clock_was_set_back(
        self, context: WorkContext, clock: Clock, watch: SetBackWatch
    ) -> None:
        with context.database.writing() as session:
            add_image(session, "a")
        serve(context, "anna")
        set_back(clock, watch)
        with context.database.reading() as session:
            lease = session.scalars(select(LeaseRow)).one()
        assert lease.expires_at == clock() + context.settings.lease_minutes * 60.0
        assert lease.released_at is None

    @pytest.mark.parametrize("jump_s", [HOURS_S, -HOURS_S])
    def test_that_a_jump_ends_or_lengthens_cost_no_label(
        self,
        context: WorkContext,
        clock: Clock,
        tmp_path: Path,
        jump_s: float,
    ) -> None:
        path = write_itk(tmp_path / "label.nrrd", make_labels(), make_grid())
        with context.database.writing() as session:
            add_image(session, "a")
        serve(context, "anna")
        clock.now += jump_s
        serve(context, "ben")
        for annotator in ("anna", "ben"):
            clock.now += 1.0
            submit_label(context, "a", path, annotator=annotator, now=clock())
        with context.database.reading() as session:
            kept = session.scalars(select(LabelRow).order_by(LabelRow.version)).all()
        assert [(row.version, row.annotator) for row in kept] == [(1, "anna"), (2, "ben")]
