"""The database and the files of a server, opened beside it."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from app.errors import NotFoundError
from app.settings import Settings
from app.store.database import Database
from app.store.files import FileStore, make_private


@dataclass(frozen=True)
class DataFolder:
    """What one import or export works on; a server may be running on the same.

    Attributes:
        settings: Settings of the deployment.
        database: Its database, migrated.
        files: Its file store.
        now: Clock in seconds since the epoch.
    """

    settings: Settings
    database: Database
    files: FileStore
    now: Callable[[], float] = time.time


@contextmanager
def open_data_folder(settings: Settings, *, make: bool = False) -> Iterator[DataFolder]:
    """Open the data folder of a server, and close its database after the block.

    Args:
        settings: Settings of the deployment.
        make: Whether a folder without a database becomes one.

    Raises:
        NotFoundError: If there is no database, and none is to be made.
    """
    is_file = not settings.database_url
    if is_file and not make and not (settings.data / "caclabel.sqlite").is_file():
        raise NotFoundError(f"there is no database in {settings.data}; choose it with --data")
    make_private(settings.data)
    database = Database(settings.database)
    try:
        database.migrate()
        yield DataFolder(settings, database, FileStore(settings.files))
    finally:
        database.close()
