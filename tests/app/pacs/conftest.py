"""A deployment whose studies are a real DICOMweb server."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pydicom
import pytest
from sqlalchemy import select

from app import jobs
from app.background.work import Work, WorkContext
from app.settings import Settings
from app.store.database import Database
from app.store.files import FileStore
from app.store.tables import ImageRow, JobRow, Json, QuarantineRow
from tests.factories import make_volume, write_dicom
from tests.orthanc import OrthancServer, orthanc


@dataclass(frozen=True)
class PacsSite:
    """An Orthanc without any series, and an empty deployment that takes its images from there."""

    remote: OrthancServer
    context: WorkContext
    folder: Path

    def add_series(self, seed: int, **elements: str) -> str:
        """Store a small series on the server; returns its SeriesInstanceUID."""
        folder = self.folder / f"series-{seed}"
        volume = make_volume(seed=seed, patient_id=f"patient-{seed}")
        files = write_dicom(folder, volume)
        for path in files:
            dataset = pydicom.dcmread(path)
            for name, value in elements.items():
                setattr(dataset, name, value)
            dataset.save_as(path)
        self.remote.upload(files)
        return str(pydicom.dcmread(files[0]).SeriesInstanceUID)

    def lose_a_file(self, content: bytes) -> None:
        """Delete an instance from the disk of the server, which goes on listing it."""
        stored = (self.remote.folder / "storage").glob("??/??/*")
        [path] = [path for path in stored if path.read_bytes() == content]
        path.unlink()
        # Orthanc keeps in memory what came lately.
        self.remote.kill()
        self.remote.start()

    def files(self, seed: int) -> list[Path]:
        """Return the files of a series that was added."""
        return sorted((self.folder / f"series-{seed}").glob("*.dcm"))

    def run(self, work: Work, **request: object) -> Json:
        """Run background work to its end; returns its result."""
        with self.context.database.writing() as session:
            job = jobs.request_job(session, "sync", dict(request), now=self.context.clock())
        units = work(self.context, job)
        while True:
            try:
                next(units)
            except StopIteration as end:
                result: Json = end.value
                return result

    def image(self, image_id: str) -> ImageRow:
        """Return the row of an image."""
        with self.context.database.reading() as session:
            return session.scalars(select(ImageRow).where(ImageRow.id == image_id)).one()

    def present(self) -> set[str]:
        """Return the ids of the images that are not missing."""
        wanted = select(ImageRow.id).where(ImageRow.missing_since.is_(None))
        with self.context.database.reading() as session:
            return set(session.scalars(wanted))

    def quarantine(self) -> dict[str, str]:
        """Return the problem of each path on the quarantine list."""
        with self.context.database.reading() as session:
            rows = session.scalars(select(QuarantineRow)).all()
        return {row.path: row.problem for row in rows}

    def scored(self) -> list[str]:
        """Return the images that score jobs were queued for."""
        with self.context.database.reading() as session:
            rows = session.scalars(select(JobRow).where(JobRow.kind == "score")).all()
        return [image for row in rows for image in row.request["images"]]

    def with_settings(self, **changes: object) -> "PacsSite":
        """Return the same site under other settings."""
        settings = self.context.settings.model_copy(update=changes)
        return replace(self, context=replace(self.context, settings=settings))


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OrthancServer]:
    with orthanc(tmp_path_factory.mktemp("orthanc")) as running:
        yield running


@pytest.fixture
def site(remote: OrthancServer, tmp_path: Path, migrated_file: Path) -> Iterator[PacsSite]:
    if remote.process is None:
        remote.start()
    for patient in remote.request("GET", "/patients").json():
        remote.request("DELETE", f"/patients/{patient}")
    settings = Settings(studies=remote.url, data=tmp_path / "data", pacs_timeout_s=20.0)
    settings.data.mkdir()
    shutil.copyfile(migrated_file, settings.data / "caclabel.sqlite")
    database = Database(settings.database)
    context = WorkContext(settings, database, FileStore(settings.files), "cpu")
    yield PacsSite(remote, context, tmp_path)
    database.close()
