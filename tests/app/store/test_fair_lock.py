"""Writers of one process wait in the order in which they came, and not for ever."""

import threading
from pathlib import Path

import pytest
from sqlalchemy import text

from app.errors import StorageError
from app.store import database as database_module
from app.store.database import Database
from app.store.fair_lock import FairLock
from tests.server.waiting import wait_until


def test_turns_come_in_the_order_in_which_they_were_asked_for() -> None:
    turns, order = FairLock(), list[int]()

    def take(number: int) -> None:
        assert turns.take(30.0)
        order.append(number)
        turns.give_back()

    assert turns.take(0.0)
    threads = [threading.Thread(target=take, args=(number,)) for number in range(8)]
    for number, thread in enumerate(threads, start=1):
        thread.start()
        wait_until(lambda number=number: turns.waiting == number)  # type: ignore[misc]  # bound now
    turns.give_back()
    for thread in threads:
        thread.join()
    assert order == list(range(8))


def test_who_waited_in_vain_holds_nobody_back() -> None:
    turns = FairLock()
    assert turns.take(0.0)
    assert not turns.take(0.01)
    turns.give_back()
    assert turns.take(0.0)


def test_a_writer_waits_for_another_thread_no_longer_than_it_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "_BUSY_TIMEOUT_MS", 50)
    database = Database(f"sqlite:///{tmp_path / 'database.sqlite'}")
    with database.writing() as first:
        first.execute(text("CREATE TABLE numbers (number INTEGER)"))
        with pytest.raises(StorageError, match="another program holds the database"):
            database.writing().__enter__()
    with database.writing() as session:
        session.execute(text("INSERT INTO numbers VALUES (1)"))
    with database.reading() as session:
        assert session.scalar(text("SELECT sum(number) FROM numbers")) == 1
    database.close()


def test_a_writer_that_fails_gives_its_turn_back(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'database.sqlite'}")
    with pytest.raises(ZeroDivisionError), database.writing():
        _ = 1 / 0
    with database.writing() as session:
        assert session.scalar(text("SELECT 1")) == 1
    database.close()
