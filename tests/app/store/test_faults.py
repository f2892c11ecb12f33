"""What disks and databases really raise is told as what it is."""

import errno
import os
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError

from app.errors import StorageError, StorageFullError
from app.store.faults import fault_code, storage_error


@pytest.mark.parametrize(
    ("number", "kind", "words"),
    [
        (errno.ENOSPC, StorageFullError, "is full"),
        (errno.EDQUOT, StorageFullError, "is full"),
        (errno.EROFS, StorageError, "cannot be written"),
        (errno.EIO, StorageError, "fails"),
    ],
)
def test_errors_of_a_disk_are_told(number: int, kind: type[StorageError], words: str) -> None:
    found = storage_error(OSError(number, os.strerror(number), "/home/someone/data"))
    assert type(found) is kind
    assert words in str(found)
    assert "/home" not in str(found)


def test_a_log_can_name_what_the_system_said() -> None:
    error = ValueError("upload")
    error.__cause__ = OSError(errno.ENOSPC, "x")
    assert fault_code(error) == "ENOSPC"
    assert fault_code(ValueError("odd")) == ""


def test_a_full_disk_behind_another_error_is_told() -> None:
    parsing = ValueError("parsing failed")
    parsing.__cause__ = OSError(errno.ENOSPC, "no space")
    assert isinstance(storage_error(parsing), StorageFullError)


@pytest.mark.parametrize(
    "error", [None, ValueError("x"), OSError("bad gzip"), FileNotFoundError(errno.ENOENT, "x")]
)
def test_other_errors_are_not_the_disk(error: Exception | None) -> None:
    assert storage_error(error) is None


def provoke(path: Path, *statements: str, address: str = "") -> DBAPIError:
    engine = create_engine(f"sqlite:///{address or path}", connect_args={"timeout": 0})
    try:
        with engine.connect() as connection:
            for statement in statements:
                connection.execute(text(statement))
    except DBAPIError as error:
        return error
    finally:
        engine.dispose()
    raise AssertionError("nothing was refused")


def test_a_full_database_is_told(tmp_path: Path) -> None:
    error = provoke(
        tmp_path / "a",
        "CREATE TABLE t (x)",
        "PRAGMA max_page_count = 3",
        "INSERT INTO t VALUES (zeroblob(100000))",
    )
    assert isinstance(storage_error(error), StorageFullError)


def test_a_locked_database_is_told(tmp_path: Path) -> None:
    holder = sqlite3.connect(tmp_path / "a", isolation_level=None)
    holder.execute("CREATE TABLE t (x)")
    holder.execute("BEGIN IMMEDIATE")
    error = provoke(tmp_path / "a", "INSERT INTO t VALUES (1)")
    holder.close()
    assert "another program holds the database" in str(storage_error(error))
    assert fault_code(error) == "SQLITE_BUSY"


def test_a_database_that_takes_no_writing_is_told(tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / "a").close()
    error = provoke(
        tmp_path / "a", "CREATE TABLE t (x)", address=f"file:{tmp_path / 'a'}?mode=ro&uri=true"
    )
    assert "cannot be written" in str(storage_error(error))


def test_a_damaged_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"no database" * 100)
    found = storage_error(provoke(tmp_path / "a", "SELECT * FROM t"))
    assert "restore the data folder from a backup" in str(found)


def test_a_mistake_in_a_statement_is_not_the_disk(tmp_path: Path) -> None:
    assert storage_error(provoke(tmp_path / "a", "SELECT * FROM nothing")) is None
