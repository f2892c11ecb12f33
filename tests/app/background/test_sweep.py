"""What the worker clears away, and what it leaves alone."""

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from app import jobs
from app.background.sweep import sweep
from app.background.work import WorkContext
from app.images import incoming_folder
from app.worker import ROUNDS
from tests.app.conftest import Deployment
from tests.app.test_sessions import create, volume_upload

DAY_S = 86_400.0

MARGIN_S = 3000.0


@pytest.fixture
def context(deployment: Deployment) -> WorkContext:
    return WorkContext(deployment.settings, deployment.database, deployment.files, "cpu")


def sweep_later(context: WorkContext, later_s: float) -> None:
    now = time.time() + later_s
    sweep(replace(context, clock=lambda: now))


def test_an_expired_session_goes_without_a_request(
    context: WorkContext, deployment: Deployment, tmp_path: Path
) -> None:
    row = create(deployment, [volume_upload(tmp_path)], now=time.time())
    folder = context.settings.data / "sessions" / row.id
    # A session lives for 3600 s by default.
    sweep_later(context, 0.0)
    assert folder.exists()
    sweep_later(context, 3600.0 + MARGIN_S)
    assert not folder.exists()


def test_what_a_killed_process_received_goes_after_a_day(context: WorkContext) -> None:
    incoming = incoming_folder(context.settings)
    (incoming / "0123").write_bytes(b"half")
    (incoming / "folder").mkdir()
    (incoming / "folder" / "part").touch()
    sweep_later(context, DAY_S - MARGIN_S)
    assert sorted(path.name for path in incoming.iterdir()) == ["0123", "folder"]
    sweep_later(context, DAY_S + MARGIN_S)
    assert list(incoming.iterdir()) == []


def test_a_file_that_is_received_now_stays_whatever_its_time(context: WorkContext) -> None:
    path = incoming_folder(context.settings) / "0123"
    path.touch()
    os.utime(path, (1.0, 1.0))
    sweep_later(context, MARGIN_S)
    assert path.exists()


def test_the_worker_sweeps_and_looks_at_the_folder(context: WorkContext) -> None:
    assert sweep in ROUNDS.values()
    assert all(act(context) > 0 for act in ROUNDS.values())


def test_the_state_of_a_training_goes_when_it_has_ended(context: WorkContext) -> None:
    with context.database.writing() as session:
        stopped, waiting = (jobs.request_job(session, "train", {}, now=1.0) for _ in range(2))
        jobs.cancel(session, stopped.id, now=2.0)
    for name in (stopped.id, waiting.id, "unknown"):
        (context.settings.runs / name).mkdir(parents=True)
    sweep_later(context, 0.0)
    left = {path.name for path in context.settings.runs.iterdir()}
    assert left == {waiting.id, "unknown"}
