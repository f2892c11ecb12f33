"""Engine, sessions and migrations.

Concurrency: one ``Database`` a process, shared by its threads; a session belongs to one
thread. ``writing()`` takes SQLite's write lock at BEGIN, so a read followed by a write in
one transaction never fails with a stale snapshot; it commits when the block ends well.
Before it the threads of a process take turns, so that none is passed over; a thread that is
in ``writing()`` must not enter it again. ``reading()`` never blocks and never blocks others
(WAL).
"""

import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from threading import Lock
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry

from app.errors import ConflictError, StorageError
from app.store.fair_lock import FairLock
from app.store.faults import LOCKED, fault_code
from app.store.json_text import json_text

logger = logging.getLogger(__name__)

_BUSY_TIMEOUT_MS = 30_000
"""How long a writer waits for its turn, and then for another process, before it gives up."""

_MS_PER_S = 1000

_AT_ONCE_S: Final = 1.0
"""Who is refused sooner did not wait for a turn."""

MIGRATIONS = Path(__file__).with_name("migrations")
"""Folder of the revisions of the schema."""


class Database:
    """The application database, SQLite or PostgreSQL.

    Attributes:
        url: Its address.
        engine: The engine for reading.
        error_count: Errors of the database so far.
    """

    def __init__(self, url: str) -> None:
        """Open the engine for ``url``; nothing is read or written yet."""
        self.url = url
        # No upper bound: a thread has one session at a time, so the threads bound the
        # connections, and waiting for one could block the thread that would free it.
        self.engine = create_engine(
            url,
            pool_pre_ping=not url.startswith("sqlite"),
            max_overflow=-1,
            # Errors are logged, and a row may name a patient.
            hide_parameters=True,
            **({} if url.startswith("sqlite") else {"json_serializer": json_text}),
        )
        self.error_count = 0
        self._error_lock = Lock()
        event.listen(self.engine, "handle_error", self._note_error)
        self._turns: FairLock | None = None
        if self.engine.dialect.name == "sqlite":
            _prepare_sqlite(self.engine)
            self._turns = FairLock()
        self._writing_engine = self.engine.execution_options(begin_immediate=True)

    def migrate(self) -> None:
        """Bring the schema to the newest revision; a fresh database is created.

        Raises:
            ConflictError: If a newer version of caclabel has changed it already.
        """
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        with self._writing_engine.connect() as connection:
            config.attributes["connection"] = connection
            try:
                command.upgrade(config, "head")
            except CommandError as error:
                raise ConflictError(
                    f"this version of caclabel does not know the schema of the database ({error});"
                    " install the newer version, or restore a backup that was taken before it"
                ) from error
            connection.commit()

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """Yield a session that commits at the end of the block and rolls back on an error.

        Raises:
            StorageError: If others write for too long.
        """
        with _turn(self._turns) if self._turns else nullcontext(), self._begun() as session:
            yield session
            session.commit()

    def _begun(self) -> Session:
        """Return a session whose transaction may write.

        SQLite lets a connection on which a result is still being read wait for no one: its
        snapshot may be old. Such a one is dropped, and another one is tried, once.
        """
        started_s = time.monotonic()
        try:
            return self._begin()
        except OperationalError as error:
            code, waited_s = fault_code(error), time.monotonic() - started_s
            if not code.startswith("SQLITE_BUSY") or waited_s > _AT_ONCE_S:
                raise
            logger.warning("tried another connection for writing after %s", code)
        return self._begin()

    def _begin(self) -> Session:
        with ExitStack() as unless_begun:
            session = Session(self._writing_engine, expire_on_commit=False)
            unless_begun.callback(session.close)
            session.connection()
            unless_begun.pop_all()
        return session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Yield a session that only reads."""
        with Session(self.engine, expire_on_commit=False) as session:
            yield session

    def _note_error(self, context: ExceptionContext) -> None:
        # What a constraint refuses is an answer.
        if not isinstance(context.sqlalchemy_exception, IntegrityError):
            with self._error_lock:
                self.error_count += 1

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()


@contextmanager
def _turn(turns: FairLock) -> Iterator[None]:
    if not turns.take(_BUSY_TIMEOUT_MS / _MS_PER_S):
        raise StorageError(LOCKED)
    try:
        yield
    finally:
        turns.give_back()


def _prepare_sqlite(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def set_pragmas(connection: object, _record: ConnectionPoolEntry) -> None:
        # The driver must not open transactions of its own: BEGIN is ours, see below.
        connection.isolation_level = None  # type: ignore[attr-defined]  # sqlite3.Connection
        cursor = connection.cursor()  # type: ignore[attr-defined]  # sqlite3.Connection
        cursor.execute(f"PRAGMA busy_timeout={_BUSY_TIMEOUT_MS}")
        cursor.execute("PRAGMA journal_mode=WAL")
        # FULL, not NORMAL: an acknowledged label must survive a power cut, too.
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        is_writer = connection.get_execution_options().get("begin_immediate", False)
        try:
            connection.exec_driver_sql("BEGIN IMMEDIATE" if is_writer else "BEGIN")
        except DBAPIError:
            # It would be refused again, and is not given to anybody else.
            connection.invalidate()
            raise
