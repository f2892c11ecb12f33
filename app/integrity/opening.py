"""The database of a data folder, opened to be looked at and never changed."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from app.errors import ConflictError, NotFoundError
from app.settings import Settings
from app.store.database import MIGRATIONS

_TIMEOUT_S = 30.0


def database_file(settings: Settings) -> Path:
    """Return where an embedded database lies.

    Raises:
        NotFoundError: If it is not there.
    """
    path = settings.data / "caclabel.sqlite"
    if not path.is_file():
        raise NotFoundError(f"there is no database in {settings.data}; choose it with --data")
    return path


@contextmanager
def looking(settings: Settings) -> Iterator[Session]:
    """Yield a session in which nothing can be changed, and nothing changes meanwhile.

    Raises:
        NotFoundError: If there is no database.
    """
    engine = _engine(settings)
    try:
        with Session(engine) as session:
            yield session
    finally:
        engine.dispose()


def check_revision(session: Session) -> None:
    """Refuse a database that this version cannot read.

    Raises:
        ConflictError: If its schema is older or newer than this version's.
    """
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    scripts = ScriptDirectory.from_config(config)
    wanted = scripts.get_current_head()
    found = MigrationContext.configure(session.connection()).get_current_revision()
    if found == wanted:
        return
    known = {script.revision for script in scripts.walk_revisions()}
    advice = "start the server once, which brings it there" if found in known else "upgrade first"
    raise ConflictError(
        f"the database has schema {found}, this version of caclabel reads {wanted}; {advice}"
    )


def open_file(path: Path) -> sqlite3.Connection:
    """Open an SQLite file that nothing can be written to."""
    # On a disk that is mounted to be read only no lock can be made, and nothing changes either.
    has_log = path.with_name(f"{path.name}-wal").exists()
    options = "mode=ro" if has_log or os.access(path.parent, os.W_OK) else "mode=ro&immutable=1"
    address = f"file:{quote(str(path.resolve()))}?{options}"
    return sqlite3.connect(
        address, uri=True, timeout=_TIMEOUT_S, isolation_level=None, check_same_thread=False
    )


def _engine(settings: Settings) -> Engine:
    if settings.database_url:
        return create_engine(settings.database_url, isolation_level="REPEATABLE READ")
    path = database_file(settings)
    engine = create_engine("sqlite://", creator=lambda: open_file(path), poolclass=NullPool)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # One look at one state: without it every statement sees what has come meanwhile.
        connection.exec_driver_sql("BEGIN")

    return engine
