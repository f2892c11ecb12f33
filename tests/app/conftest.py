"""A deployment in a temporary folder: settings, database and file store."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.settings import Settings
from app.store.database import Database
from app.store.files import FileStore


@dataclass(frozen=True)
class Deployment:
    """What use cases need, with an empty studies folder."""

    settings: Settings
    database: Database
    files: FileStore

    @property
    def studies(self) -> Path:
        assert self.settings.studies_folder is not None
        return self.settings.studies_folder


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh database after all migrations, to be copied: migrating takes longer than a test."""
    path = tmp_path_factory.mktemp("database") / "migrated.sqlite"
    database = Database(f"sqlite:///{path}")
    database.migrate()
    with database.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    return path


@pytest.fixture
def deployment(tmp_path: Path, migrated_file: Path) -> Iterator[Deployment]:
    settings = Settings(studies=tmp_path / "studies", data=tmp_path / "data")
    for folder in (tmp_path / "studies", settings.data):
        folder.mkdir()
    shutil.copyfile(migrated_file, settings.data / "caclabel.sqlite")
    database = Database(settings.database)
    yield Deployment(settings, database, FileStore(settings.files))
    database.close()
