"""A deployment whose images come from a real DICOMweb server, with a clock that tests set."""

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydantic import HttpUrl
from sqlalchemy import select

from app.background.work import WorkContext
from app.calcium.labels import LABELS
from app.imaging.volume import Volume
from app.pacs import export_job, sync
from app.settings import Settings
from app.store.database import Database
from app.store.files import FileStore
from app.store.tables import ExportRow, ImageRow, JobRow, LabelRow
from tests.app.submitting import submit_label
from tests.clock import Clock
from tests.factories import make_volume, write_dicom, write_itk
from tests.orthanc import OrthancServer

ALL_NAMES = {"label_names": LABELS}
"""Names of every value, as the canonical label maps have them."""


@dataclass
class ExportSite:
    """One image in the pool, from a series that a DICOMweb server has.

    Attributes:
        context: What the worker's jobs are given.
        clock: Its clock.
        volume: What the series shows.
        files: The series as it was stored there.
        folder: For files of the test.
    """

    context: WorkContext
    clock: Clock
    volume: Volume
    files: list[Path]
    folder: Path

    @property
    def image(self) -> ImageRow:
        with self.context.database.reading() as session:
            return session.scalars(select(ImageRow)).one()

    def submit(
        self, label: NDArray[np.uint8], *, names: object = None, tag: str = "final"
    ) -> LabelRow:
        """Submit a label map as 3D Slicer does."""
        path = write_itk(self.folder / "label.nrrd", label, self.volume.grid)
        params = {"label_names": names} if names is not None else ALL_NAMES
        return submit_label(
            self.context, self.image.id, path, params=params, now=self.clock(), tag=tag
        )

    def export(self) -> None:
        """Run the job to its end."""
        run_export(self.context)

    def exports(self) -> list[ExportRow]:
        """Return all exports, oldest label first."""
        with self.context.database.reading() as session:
            return list(session.scalars(select(ExportRow).order_by(ExportRow.label_id)))

    def labels(self) -> list[LabelRow]:
        """Return all labels, oldest first."""
        with self.context.database.reading() as session:
            return list(session.scalars(select(LabelRow).order_by(LabelRow.id)))


def run_export(context: WorkContext) -> None:
    """Run the job that exports to its end."""
    for _ in export_job.export(context, JobRow(id="export")):
        pass


def make_site(server: OrthancServer, folder: Path, database: Path, *, seed: int) -> ExportSite:
    """Store a series in the server and let a new deployment find it."""
    volume = make_volume(seed=seed)
    files = write_dicom(folder / "series", volume)
    server.upload(files)
    uid = str(pydicom.dcmread(files[0]).SeriesInstanceUID)
    settings = Settings(
        studies=HttpUrl(server.url),
        data=folder / "data",
        pacs_filter={"Modality": "CT", "SeriesInstanceUID": uid},
        pacs_timeout_s=20.0,
    )
    settings.data.mkdir()
    (settings.data / "caclabel.sqlite").write_bytes(database.read_bytes())
    clock = Clock()
    context = WorkContext(
        settings, Database(settings.database), FileStore(settings.files), "cpu", clock
    )
    for _ in sync.sync(context, JobRow(id="sync")):
        pass
    return ExportSite(context, clock, volume, files, folder)


def unreachable(folder: Path, database: Path) -> WorkContext:
    """Make a deployment whose DICOMweb server is down."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/dicom-web"
    settings = Settings(studies=HttpUrl(url), data=folder / "data")
    settings.data.mkdir()
    (settings.data / "caclabel.sqlite").write_bytes(database.read_bytes())
    return WorkContext(
        settings, Database(settings.database), FileStore(settings.files), "cpu", Clock()
    )


def closing(site: ExportSite) -> Iterator[ExportSite]:
    """Yield a site and close its database."""
    yield site
    site.context.database.close()
