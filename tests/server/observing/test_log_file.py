"""The file of the log: bounded, shared, and one format for all who write to it."""

import json
import logging
import logging.handlers
import stat
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.settings import Settings
from server import logs


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root, chatty = logging.getLogger(), logging.getLogger("pydicom")
    handlers, level, hooks = root.handlers[:], root.level, (sys.excepthook, threading.excepthook)
    engine = logging.getLogger("dbos")
    engine_handlers = engine.handlers[:]
    with warnings.catch_warnings():
        yield
    logging.captureWarnings(capture=False)
    for handler in root.handlers:
        if handler not in handlers:
            handler.close()
    root.handlers, root.level = handlers, level
    engine.handlers = engine_handlers
    sys.excepthook, threading.excepthook = hooks
    chatty.setLevel(logging.NOTSET)


def objects(settings: Settings) -> list[dict[str, object]]:
    return [json.loads(line) for line in logs.log_file(settings).read_text().splitlines()]


def test_everybody_writes_json_when_that_is_chosen(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, log_format="json")
    logs.write_to_file(settings, is_server=True)
    for name in ("uvicorn.error", "dbos", "server.supervisor", "app.worker"):
        logging.getLogger(name).warning("from %s\n[INFO] all is well", name)
    assert [line["logger"] for line in objects(settings)] == [
        "uvicorn.error",
        "dbos",
        "server.supervisor",
        "app.worker",
    ]


def test_a_data_folder_that_a_log_is_the_first_in_is_for_its_user_alone(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path / "not" / "yet")
    logs.write_to_file(settings)
    assert stat.S_IMODE(settings.data.stat().st_mode) == 0o700


def test_what_ends_a_thread_is_logged_as_everything_else(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, log_format="json")
    logs.write_to_file(settings)
    logs.tell_uncaught_errors()

    def fail() -> None:
        raise ZeroDivisionError("planted")

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    (line,) = objects(settings)
    assert line["level"] == "CRITICAL"
    assert str(line["exception"]).endswith("ZeroDivisionError: planted")


def test_a_log_that_grows_is_put_aside_and_others_follow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "_LARGEST_LOG_BYTES", 1000)
    settings = Settings(data=tmp_path)
    logs.write_to_file(settings, is_server=True)
    path = logs.log_file(settings)
    worker = logging.handlers.WatchedFileHandler(path)
    worker.emit(logging.makeLogRecord({"msg": "x" * 1100}))
    # Its own line comes after the worker's: with the next one it sees how long the log is.
    for number in (1, 2):
        logging.getLogger("test").info("line %d of the server", number)
    worker.emit(logging.makeLogRecord({"msg": "of the worker"}))
    worker.close()
    first, last = path.read_text().splitlines()
    assert first.endswith("line 2 of the server")
    assert last == "of the worker"
    aside = path.with_suffix(".log.1").read_text().splitlines()
    assert aside[0].startswith("xxx")
    assert aside[1].endswith("line 1 of the server")
