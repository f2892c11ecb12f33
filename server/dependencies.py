"""What routes are given: settings, files, the time, the database and a session to read.

Concurrency: endpoints run in threads of one pool, a session belongs to one request. An
endpoint that changes something opens its transaction itself, ``with database.writing()``:
so it is committed before the answer leaves, and a 200 is a promise that the change is on
disk. A dependency that commits afterwards would hold SQLite's write lock while it waits for
a free thread, and with every thread waiting for the lock nothing would ever move again.
"""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Final

from fastapi import Depends, Path, Request
from sqlalchemy.orm import Session

from app.clicks.session_images import SessionImages
from app.settings import Settings
from app.store.database import Database
from app.store.files import FileStore
from server.security.guard import Guard

THREADS: Final = 64
"""Threads for endpoints of one server process."""

WAITING_PLACES: Final = 32
"""Requests that may wait for a worker at once; the other threads answer everybody else."""


@dataclass(frozen=True)
class Services:
    """What one server process has for all its requests.

    Attributes:
        settings: Settings of the deployment.
        database: The application database.
        files: Content-addressed files.
        waiting_places: How many more requests may wait for a worker; each holds a thread.
        guard: Knows who may come in.
        session_images: Images of sessions, decoded.
        stopping: Set when the process is about to end.
    """

    settings: Settings
    database: Database
    files: FileStore
    waiting_places: threading.Semaphore
    guard: Guard
    session_images: SessionImages = field(default_factory=SessionImages)
    stopping: threading.Event = field(default_factory=threading.Event)


def open_services(settings: Settings) -> Services:
    """Build the services of a process; nothing is read or written yet."""
    places = threading.Semaphore(WAITING_PLACES)
    database = Database(settings.database)
    guard = Guard(settings, database)
    return Services(settings, database, FileStore(settings.files), places, guard)


def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


ServicesDep = Annotated[Services, Depends(_services)]


def _settings(services: ServicesDep) -> Settings:
    return services.settings


def _files(services: ServicesDep) -> FileStore:
    return services.files


def _now() -> float:
    return time.time()


def _reading(services: ServicesDep) -> Iterator[Session]:
    with services.database.reading() as session:
        yield session


def _database(services: ServicesDep) -> Database:
    return services.database


SettingsDep = Annotated[Settings, Depends(_settings)]
DatabaseDep = Annotated[Database, Depends(_database)]
FilesDep = Annotated[FileStore, Depends(_files)]
Now = Annotated[float, Depends(_now)]
ReadSession = Annotated[Session, Depends(_reading, scope="function")]

RowId = Annotated[int, Path(ge=1, le=2**31 - 1)]
"""Number of a row in the path, no higher than every database takes."""
