"""The server and its worker are really killed; nothing acknowledged is lost."""

import os
import random
import re
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.journeys.pool import write_label, write_pool
from tests.journeys.serving import RunningServer, serving, wait_until
from tests.journeys.soak import play, worker_processes

pytestmark = pytest.mark.slow

_TRAINING_S = 240.0


def submit(server: RunningServer, seed: int, folder: Path) -> None:
    label = write_label(folder / f"label_{seed}.nrrd", seed)
    files = {"label": (label.name, label.read_bytes())}
    answer = server.request("PUT", f"/datastore/label?image=case_{seed}", files=files)
    assert answer.status_code == 200, answer.text


def train_lines(server: RunningServer) -> list[str]:
    lines: list[str] = server.request("GET", "/train/").json()["details"]
    return lines


def epochs(lines: list[str]) -> list[int]:
    found = [re.match(r"epoch (\d+)/", line) for line in lines]
    return [int(match[1]) for match in found if match]


def worker_process(server: RunningServer) -> int:
    """Return the process id of the worker, the only child of the server."""
    return worker_processes(server)[0]


def test_training_goes_on_after_server_and_worker_were_killed(tmp_path: Path) -> None:
    studies, data = write_pool(tmp_path / "studies", 4), tmp_path / "data"
    with serving(studies, data, validation_percent=0) as server:
        for seed in range(3):
            submit(server, seed, tmp_path)
        assert server.request("POST", "/train/calcium", json={"max_epochs": 3}).ok
        wait_until(lambda: 1 in epochs(train_lines(server)), server, _TRAINING_S)
        os.kill(worker_process(server), signal.SIGKILL)
        # The supervisor starts a worker of the same name, which goes on with the training.
        wait_until(lambda: 2 in epochs(train_lines(server)), server, _TRAINING_S)
        server.process.kill()
        server.process.wait()
    with serving(studies, data, validation_percent=0) as server:
        assert server.labeled() == 3
        wait_until(lambda: not server.is_training(), server, _TRAINING_S)
        ended = server.request("GET", "/train/").json()
        assert ended["status"] == "DONE", ended["details"]
        # An epoch that was killed in flight is run again, one that was kept is not.
        assert epochs(ended["details"]) == [1, 2, 3]
        assert not any("starting over" in line for line in ended["details"])
        assert "calcium" in server.request("GET", "/info/").json()["models"]
    assert is_sound(data / "caclabel.sqlite")


def test_kills_at_random_moments_lose_no_label_and_no_image(tmp_path: Path) -> None:
    settings = play(tmp_path, ["worker", "web"], random.Random(7))
    with closing(sqlite3.connect(settings.data / "caclabel.sqlite")) as connection:
        contents = connection.execute("SELECT content_sha256 FROM images").fetchall()
        jobs = connection.execute("SELECT DISTINCT status FROM jobs").fetchall()
    # Two at the beginning, and one for each kill; each is there once.
    assert len(contents) == len(set(contents)) == 4
    assert jobs == [("done",)]


def is_sound(database: Path) -> bool:
    connection = sqlite3.connect(database)
    try:
        found: tuple[str] = connection.execute("PRAGMA integrity_check").fetchone()
        return found == ("ok",)
    finally:
        connection.close()
