"""A real worker is killed while it compares two model versions; it decides once."""

import os
import signal
from pathlib import Path

import pytest

from app.background.work import WorkContext
from app.settings import Settings
from app.store.database import Database
from app.store.files import FileStore
from tests.app.training import planted
from tests.journeys.serving import RunningServer, serving, wait_until
from tests.journeys.test_kill import worker_process

pytestmark = pytest.mark.slow

LABELS, VALIDATION = 12, 10
SETTINGS = {"gate_patients": 5, "samples": 20, "threads": 1, "device": "cpu"}
_JUDGING_S = 240.0


def prepare(folder: Path) -> Settings:
    """Leave a pool with a version that answers, and a worse one that waits to be judged."""
    studies, data = folder / "studies", folder / "data"
    studies.mkdir()
    data.mkdir()
    settings = Settings.model_validate(
        {**SETTINGS, "studies": studies, "data": data, "profile": "small"}
    )
    database = Database(settings.database)
    database.migrate()
    worker = WorkContext(settings, database, FileStore(settings.files), "cpu")
    planted.add_pool(worker, LABELS, folder, validation=VALIDATION)
    planted.add_version(worker, "all")
    planted.plant(worker, planted.queue(worker), "nothing")
    database.close()
    return settings


def judged_images(server: RunningServer) -> int:
    lines = server.request("GET", "/train/").json()["details"]
    return sum(line.startswith("judged on") for line in lines)


def decisions(server: RunningServer) -> list[bool | None]:
    rows = server.request("GET", "/model_versions/").json()
    return [row.get("decision", {}).get("promote") for row in rows]


def test_judging_goes_on_after_a_kill_and_decides_once(tmp_path: Path) -> None:
    settings = prepare(tmp_path)
    assert settings.studies_folder is not None
    with serving(settings.studies_folder, settings.data, **SETTINGS) as server:
        wait_until(lambda: judged_images(server) >= 2, server, _JUDGING_S)
        os.kill(worker_process(server), signal.SIGKILL)
        assert decisions(server) == [None, True], "killed too late to tell anything"
        # The supervisor starts a worker of the same name, which goes on with the judging.
        wait_until(lambda: not server.is_training(), server, _JUDGING_S)
        ended = server.request("GET", "/train/").json()
        assert ended["status"] == "DONE", ended["details"]
        assert decisions(server) == [False, True]
        assert server.request("GET", "/model_versions/2").json()["reason"] in ended["details"]
        assert server.request("GET", "/model/info/calcium").json()["version"] == 1
    assert trail(settings) == ["promote", "keep back"]


def trail(settings: Settings) -> list[str]:
    database = Database(settings.database)
    with database.reading() as session:
        rows = planted.version_changes(session)
    database.close()
    return rows
