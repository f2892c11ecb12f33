"""What a look at the studies folder and a scan of it set going."""

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select

from app import jobs, studies
from app.background.work import WorkContext, next_unit
from app.imaging.known_files import KnownFiles
from app.imaging.volume_writer import write_volume
from app.store.tables import JobRow, Json
from tests.app.conftest import Deployment
from tests.app.pool import add_image, add_model_version, add_prediction
from tests.clock import Clock
from tests.factories import make_volume, write_dicom
from tests.opened_files import opened_below


@pytest.fixture
def clock() -> Clock:
    # Every file that tests write is an hour old.
    return Clock(time.time() + 3600.0)


@pytest.fixture
def context(deployment: Deployment, clock: Clock) -> WorkContext:
    return WorkContext(deployment.settings, deployment.database, deployment.files, "cpu", clock)


def scan(context: WorkContext) -> Json:
    """Scan as the worker does, and return the result."""
    with context.database.writing() as session:
        job = jobs.request_job(session, "scan", {}, now=context.clock())
    work = studies.scan(context, job)
    progress, result = next_unit(work)
    while progress is not None:
        progress, result = next_unit(work)
    end(context, job.id, "done", result)
    return result


def scored(context: WorkContext) -> list[list[str]]:
    """Return the images of every score job."""
    with context.database.reading() as session:
        rows = session.scalars(select(JobRow).where(JobRow.kind == "score")).all()
    return [row.request["images"] for row in rows]


def test_images_that_arrive_later_are_scored_by_the_active_model(context: WorkContext) -> None:
    with context.database.writing() as session:
        add_image(session, "old").source = "upload"
        version = add_model_version(session)
        add_prediction(session, "old", version.id, uncertainty=1.0)
    before = len(scored(context))
    assert context.settings.studies_folder is not None
    write_volume(context.settings.studies_folder / "new.nii.gz", make_volume())
    scan(context)
    assert scored(context)[before:] == [["new"]]


def test_a_scan_that_finds_nothing_new_asks_for_no_scores(context: WorkContext) -> None:
    with context.database.writing() as session:
        add_image(session, "old").source = "upload"
        add_model_version(session)
    before = scored(context)
    scan(context)
    assert scored(context) == before


def test_a_look_sees_what_changes_behind_a_link(context: WorkContext, tmp_path: Path) -> None:
    folder = context.settings.studies_folder
    assert folder is not None
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (folder / "linked").symlink_to(elsewhere)
    # A link that leads back must not be followed for ever.
    (elsewhere / "back").symlink_to(folder)
    before = studies.folder_signature(folder)
    (elsewhere / "new.nii.gz").touch()
    assert studies.folder_signature(folder) != before


def test_a_look_takes_any_file_name(context: WorkContext) -> None:
    folder = context.settings.studies_folder
    assert folder is not None
    before = studies.folder_signature(folder)
    (folder / os.fsdecode(b"\xff\xfe.nii.gz")).touch()
    assert studies.folder_signature(folder) != before
    studies.request_scan_if_due(context)
    with context.database.reading() as session:
        assert jobs.running(session, "scan") is not None


def request(context: WorkContext) -> str | None:
    """Look at the folder and return the scan that waits now."""
    studies.request_scan_if_due(context)
    with context.database.reading() as session:
        job = jobs.running(session, "scan")
    return None if job is None else job.id


def end(
    context: WorkContext,
    job_id: str | None,
    status: jobs.EndStatus,
    result: Json | None = None,
    *,
    took_s: float = 0.0,
) -> None:
    """End a scan that began ``took_s`` ago."""
    assert job_id is not None
    with context.database.writing() as session:
        jobs.start(session, job_id, "worker", now=context.clock() - took_s)
        jobs.finish(session, job_id, status, [], now=context.clock(), result=result)


def test_an_unchanged_folder_is_scanned_once(context: WorkContext, clock: Clock) -> None:
    end(context, request(context), "done")
    clock.now += 1e6
    assert request(context) is None


@pytest.mark.parametrize(("status", "result"), [("failed", {}), ("done", {"doubtful": 1})])
@pytest.mark.parametrize(("took_s", "pause_s"), [(1.0, 60.0), (30.0, 300.0)])
def test_a_scan_that_went_wrong_is_repeated_after_a_pause(
    context: WorkContext,
    clock: Clock,
    status: jobs.EndStatus,
    result: Json,
    took_s: float,
    pause_s: float,
) -> None:
    end(context, request(context), status, result, took_s=took_s)
    clock.now += pause_s - 1.0
    assert request(context) is None
    clock.now += 1.0
    assert request(context) is not None


def test_files_that_arrive_are_looked_at_again_soon(context: WorkContext, clock: Clock) -> None:
    # Half of the 10 s between two looks.
    end(context, request(context), "done", {"arriving": 1})
    assert studies.look(context) == 5.0
    clock.now += 4.9
    assert request(context) is None
    clock.now += 0.1
    assert request(context) is not None
    assert studies.look(context) == 5.0


def test_a_folder_at_rest_is_looked_at_less_often(context: WorkContext) -> None:
    end(context, request(context), "done")
    assert studies.look(context) == 10.0


def test_an_image_is_taken_once_it_holds_still(context: WorkContext, clock: Clock) -> None:
    folder = context.settings.studies_folder
    assert folder is not None
    write_volume(folder / "new.nii.gz", make_volume())
    written_at = (folder / "new.nii.gz").stat().st_ctime
    clock.now = written_at + 4.0
    assert scan(context)["arriving"] == 1
    clock.now = written_at + 5.0
    assert scan(context)["registered"] == 1


def test_a_scan_reads_the_headers_of_what_is_new(context: WorkContext, clock: Clock) -> None:
    folder = Path(str(context.settings.studies_folder))
    context = replace(context, headers=KnownFiles(clock))
    write_dicom(folder / "old")
    scan(context)
    write_dicom(folder / "new", make_volume(seed=1))
    with opened_below(folder / "old") as opened:
        assert scan(context)["registered"] == 1
    assert opened == set()


def test_a_share_whose_clock_is_ahead_delays_an_image_once(
    context: WorkContext, clock: Clock
) -> None:
    folder = context.settings.studies_folder
    assert folder is not None
    write_volume(folder / "new.nii.gz", make_volume())
    clock.now -= 7200.0
    assert scan(context)["arriving"] == 1
    clock.now += 5.0
    assert scan(context)["registered"] == 1


def test_a_scan_that_a_person_stopped_is_repeated_when_the_folder_changes(
    context: WorkContext, clock: Clock
) -> None:
    end(context, request(context), "canceled")
    clock.now += 1e6
    assert request(context) is None
    assert context.settings.studies_folder is not None
    (context.settings.studies_folder / "new.nii").touch()
    assert request(context) is not None


def test_images_that_are_known_take_no_unit_each(context: WorkContext) -> None:
    for seed in range(16):
        folder = Path(str(context.settings.studies))
        write_volume(folder / f"image_{seed}.nii.gz", make_volume(seed=seed))
    scan(context)
    job = JobRow(id="again", kind="scan", request={})
    units = sum(1 for _ in studies.scan(context, job))
    # The first tells that the scan has begun; a unit each would be 17 of them.
    assert units < 9
