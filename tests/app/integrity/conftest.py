import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.settings import Settings
from tests.app.integrity.folder import Folder, add_studies, copy_of, fill, open_folder


@pytest.fixture(scope="session")
def filled_folder(tmp_path_factory: pytest.TempPathFactory, migrated_file: Path) -> Path:
    """Fill a data folder once; tests work on copies."""
    data = tmp_path_factory.mktemp("filled") / "data"
    data.mkdir()
    shutil.copyfile(migrated_file, data / "caclabel.sqlite")
    folder = open_folder(Settings(data=data))
    fill(folder, tmp_path_factory.mktemp("scratch"))
    with folder.database.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    folder.database.close()
    return data


@pytest.fixture
def folder(filled_folder: Path, tmp_path: Path) -> Iterator[Folder]:
    opened = open_folder(Settings(data=copy_of(filled_folder, tmp_path / "data")))
    yield opened
    opened.database.close()


@pytest.fixture
def folder_with_studies(migrated_file: Path, tmp_path: Path) -> Iterator[Folder]:
    (tmp_path / "empty").mkdir()
    shutil.copyfile(migrated_file, tmp_path / "empty/caclabel.sqlite")
    opened = open_folder(Settings(data=tmp_path / "empty"))
    yield add_studies(opened, tmp_path / "studies")
    opened.database.close()
