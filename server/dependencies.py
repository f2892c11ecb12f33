"""What routes are given: settings, files, the time, and sessions with their transactions.

Concurrency: endpoints and dependencies run in threads of one pool. A session belongs to
one request. `WriteSession` has function scope, so that its transaction is committed
before the answer leaves: an answer of 200 is a promise that the change is on disk.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy.orm import Session

from app.settings import Settings
from app.store.database import Database
from app.store.files import FileStore


@dataclass(frozen=True)
class Services:
    """What one server process has for all its requests."""

    settings: Settings
    database: Database
    files: FileStore


def open_services(settings: Settings) -> Services:
    """Build the services of a process; nothing is read or written yet."""
    return Services(settings, Database(settings.database), FileStore(settings.files))


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


def _writing(services: ServicesDep) -> Iterator[Session]:
    with services.database.writing() as session:
        yield session


SettingsDep = Annotated[Settings, Depends(_settings)]
FilesDep = Annotated[FileStore, Depends(_files)]
Now = Annotated[float, Depends(_now)]
ReadSession = Annotated[Session, Depends(_reading, scope="function")]
WriteSession = Annotated[Session, Depends(_writing, scope="function")]
