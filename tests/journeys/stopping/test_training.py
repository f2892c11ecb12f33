"""A training is stopped with its worker, and goes on with the next one."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from app import jobs
from app.settings import Settings
from app.store.database import Database
from app.store.tables import JobRow
from server.main import create_app
from tests.journeys.pool import write_image, write_label
from tests.server.waiting import wait_until

_TRAINING_S: Final = 240.0


def training_job(database: Database) -> JobRow:
    with database.reading() as session:
        return session.scalars(select(JobRow).where(JobRow.kind == "train")).one()


def trained_epochs(database: Database) -> list[int]:
    job = training_job(database)
    assert job.status in jobs.OPEN, job.details
    found = [re.match(r"epoch (\d+)/", line) for line in job.details]
    return [int(match[1]) for match in found if match]


@contextmanager
def training(data: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "tests.journeys.stopping.quick_worker", str(data)]
    with subprocess.Popen(command) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.slow
def test_a_training_goes_on_after_the_epoch_in_which_its_worker_was_stopped(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, profile="small", first_training=1, validation_percent=0)
    with TestClient(create_app(settings)) as client:
        files = {"file": ("case.nii.gz", write_image(tmp_path / "x.nii.gz", 0).read_bytes())}
        assert client.put("/datastore?image=case", files=files).is_success
        files = {"label": ("case.nrrd", write_label(tmp_path / "x.nrrd", 0).read_bytes())}
        assert client.put("/datastore/label?image=case", files=files).is_success
        assert client.post("/train/calcium", json={"max_epochs": 500}).is_success
    database = Database(settings.database)
    with training(tmp_path) as process:
        wait_until(lambda: 1 in trained_epochs(database), _TRAINING_S)
        process.send_signal(signal.SIGTERM)
        assert process.wait(_TRAINING_S) == 0
    job = training_job(database)
    assert (job.status, job.started_at) == ("queued", None)
    assert job.details[-1] == "the worker was stopped; waiting for one"
    before = trained_epochs(database)[-1]
    # The epoch under way was finished and kept.
    goes_on = f"going on after epoch {before}"
    with training(tmp_path):
        wait_until(lambda: goes_on in training_job(database).details, _TRAINING_S)
    database.close()
