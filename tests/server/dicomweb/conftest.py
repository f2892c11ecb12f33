"""A server whose pool holds two studies: three DICOM series and one NIfTI image."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient

from app import images
from app.imaging.volume import Identifiers, Volume
from app.imaging.volume_writer import write_volume
from app.settings import Settings
from server.dependencies import Services
from server.main import create_app
from tests.factories import edit_dicom, make_grid, make_volume, write_dicom

STUDY = "1.2.840.1"

SERIES = ("1.2.840.1.1", "1.2.840.1.2")

OTHER_STUDY = "1.2.840.2"

NAME = "Curie^Marie"


def series_volume(seed: int, series_uid: str, study_uid: str) -> Volume:
    number = study_uid[-1]
    date = f"2026010{number}"
    who = Identifiers(f"patient-{number}", study_uid, series_uid, date, "101500", "CT")
    hu = np.random.default_rng(seed).integers(-1000, 1000, (4, 6, 7), dtype=np.int16)
    return Volume(hu, make_grid((4, 6, 7)), 120.0, who)


def write_pool(folder: Path) -> Path:
    for seed, series_uid in enumerate(SERIES, start=1):
        write_dicom(folder / f"series-{seed}", series_volume(seed, series_uid, STUDY))
    paths = write_dicom(folder / "other", series_volume(3, f"{OTHER_STUDY}.1", OTHER_STUDY))
    for path in paths:
        edit_dicom(path, PatientName=NAME, StudyDescription="Calcium [score]")
    write_volume(folder / "case_1.nii.gz", make_volume())
    return folder


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Iterator[TestClient]:
    """Return one client for all tests of a module that change nothing."""
    data = tmp_path_factory.mktemp("data")
    shutil.copy(empty_database, data / "caclabel.sqlite")
    studies = write_pool(tmp_path_factory.mktemp("studies"))
    application = create_app(Settings(data=data, studies=studies))
    services: Services = application.state.services
    with TestClient(application, raise_server_exceptions=False) as client:
        images.scan_studies(services.database, services.settings, now=lambda: 1000.0)
        yield client
