"""What a look at the studies folder and a scan of it set going."""

import os

import pytest
from sqlalchemy import select

from app import jobs, studies
from app.background.work import WorkContext
from app.imaging.volume_writer import write_volume
from app.store.tables import JobRow
from tests.app.conftest import Deployment
from tests.app.pool import add_image, add_model_version, add_prediction
from tests.factories import make_volume


@pytest.fixture
def context(deployment: Deployment) -> WorkContext:
    return WorkContext(deployment.settings, deployment.database, deployment.files, "cpu")


def scan(context: WorkContext) -> None:
    with context.database.writing() as session:
        job = jobs.request_job(session, "scan", {}, now=1.0)
    for _ in studies.scan(context, job):
        pass


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
    assert context.settings.studies is not None
    write_volume(context.settings.studies / "new.nii.gz", make_volume())
    scan(context)
    assert scored(context)[before:] == [["new"]]


def test_a_scan_that_finds_nothing_new_asks_for_no_scores(context: WorkContext) -> None:
    with context.database.writing() as session:
        add_image(session, "old").source = "upload"
        add_model_version(session)
    before = scored(context)
    scan(context)
    assert scored(context) == before


def test_a_look_takes_any_file_name(context: WorkContext) -> None:
    folder = context.settings.studies_folder
    assert folder is not None
    before = studies.folder_signature(folder)
    (folder / os.fsdecode(b"\xff\xfe.nii.gz")).touch()
    assert studies.folder_signature(folder) != before
    studies.request_scan_if_changed(context)
    with context.database.reading() as session:
        assert jobs.running(session, "scan") is not None
