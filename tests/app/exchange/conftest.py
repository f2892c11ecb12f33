"""Pools to export, and data folders without a studies folder, as an import finds them."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.exchange.data_folder import DataFolder
from app.settings import Settings
from app.store.database import Database
from app.store.files import FileStore
from tests.app.conftest import Deployment
from tests.app.exchange.labeled_pool import fill


@pytest.fixture
def data(deployment: Deployment) -> DataFolder:
    settings = Settings(data=deployment.settings.data)
    return DataFolder(settings, deployment.database, deployment.files, now=lambda: 1000.0)


@pytest.fixture
def elsewhere(tmp_path: Path, migrated_file: Path) -> Iterator[DataFolder]:
    """A second, empty deployment."""
    settings = Settings(data=tmp_path / "elsewhere")
    settings.data.mkdir()
    shutil.copyfile(migrated_file, settings.data / "caclabel.sqlite")
    database = Database(settings.database)
    yield DataFolder(settings, database, FileStore(settings.files), now=lambda: 2000.0)
    database.close()


@pytest.fixture
def pool(deployment: Deployment) -> DataFolder:
    return fill(deployment)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"
