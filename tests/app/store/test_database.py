import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError

from app.store.database import Database
from app.store.tables import Base, WorkerRow
from tests.app.conftest import Deployment


def test_migrations_make_exactly_the_tables_of_the_code(deployment: Deployment) -> None:
    with deployment.database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_migrating_again_changes_nothing(deployment: Deployment) -> None:
    with deployment.database.writing() as session:
        session.add(WorkerRow(id="w", seen_at=1.0, started_at=1.0))
    deployment.database.migrate()
    with deployment.database.reading() as session:
        assert session.get_one(WorkerRow, "w").seen_at == 1.0


@pytest.mark.parametrize(
    ("pragma", "expected"),
    # 2 is FULL: a commit is on disk before it is acknowledged.
    [("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1)],
)
def test_every_connection_is_durable_and_checked(
    deployment: Deployment, pragma: str, expected: object
) -> None:
    with deployment.database.writing() as session:
        assert session.scalar(text(f"PRAGMA {pragma}")) == expected
    with deployment.database.reading() as session:
        assert session.scalar(text(f"PRAGMA {pragma}")) == expected


def test_an_error_rolls_the_whole_block_back(deployment: Deployment) -> None:
    def add_and_fail() -> None:
        with deployment.database.writing() as session:
            session.add(WorkerRow(id="w", seen_at=1.0, started_at=1.0))
            session.flush()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        add_and_fail()
    with deployment.database.reading() as session:
        assert session.get(WorkerRow, "w") is None


def test_reading_goes_on_while_another_writes(deployment: Deployment) -> None:
    with deployment.database.writing() as writer:
        writer.add(WorkerRow(id="w", seen_at=1.0, started_at=1.0))
        writer.flush()
        with deployment.database.reading() as reader:
            assert reader.scalars(select(WorkerRow)).all() == []


def test_writers_that_read_first_wait_for_each_other(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'a.sqlite'}")
    database.migrate()
    with database.writing() as session:
        session.add(WorkerRow(id="w", seen_at=0.0, started_at=0.0))

    def add_one() -> None:
        for _ in range(10):
            with database.writing() as session:
                session.get_one(WorkerRow, "w").seen_at += 1

    threads = [threading.Thread(target=add_one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Four threads of ten increments each; a stale read would lose one.
    with database.reading() as session:
        assert session.get_one(WorkerRow, "w").seen_at == 40
    database.close()


def test_a_result_that_was_left_unread_keeps_nobody_from_writing(deployment: Deployment) -> None:
    database = deployment.database
    with database.writing() as session:
        session.add_all(WorkerRow(id=name, seen_at=0.0, started_at=0.0) for name in "ab")
    with database.engine.connect() as connection:
        unread = connection.connection.cursor()
        unread.execute("SELECT id FROM workers")
        unread.fetchone()
    # What the pooled connection sees is old now, so that SQLite refuses it at once.
    with closing(sqlite3.connect(deployment.settings.data / "caclabel.sqlite")) as other, other:
        other.execute("UPDATE workers SET seen_at = 1")
    with database.writing() as session:
        session.get_one(WorkerRow, "a").seen_at += 1
    with database.reading() as session:
        assert session.get_one(WorkerRow, "a").seen_at == 2


def test_rows_without_their_parent_are_refused(deployment: Deployment) -> None:
    insert = text(
        "INSERT INTO leases (image_id, strategy, client_id, served_at, expires_at, outcome)"
        " VALUES ('nobody', 'first', 'c', 0, 1, '')"
    )
    with pytest.raises(IntegrityError), deployment.database.writing() as session:
        session.execute(insert)
