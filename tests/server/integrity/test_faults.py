"""What a full disk and a locked database do to a request: a sentence, and nothing half done."""

import errno
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import event
from sqlalchemy.orm import Session

from app.settings import Settings
from app.store import database
from server.main import create_app
from tests.journeys.disks import small_disk
from tests.server.conftest import Site
from tests.server.pool import image_bytes, label_bytes

_IMAGE = {"file": ("case_1.nii.gz", image_bytes(1))}


def test_a_database_that_another_program_keeps_is_told(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_BUSY_TIMEOUT_MS", 50)
    with (
        TestClient(create_app(settings), raise_server_exceptions=False) as client,
        closing(sqlite3.connect(settings.data / "caclabel.sqlite", isolation_level=None)) as other,
    ):
        other.execute("BEGIN IMMEDIATE")
        refused = client.put("/datastore/?image=case_1", files=_IMAGE)
        assert refused.status_code == 503
        assert "another program holds the database" in refused.json()["detail"]
        assert client.get("/datastore/").json()["total"] == 0
        other.execute("ROLLBACK")
        assert client.put("/datastore/?image=case_1", files=_IMAGE).status_code == 200


@contextmanager
def failing_commit() -> Iterator[None]:
    def fail(_session: Session) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/home/someone/data")

    event.listen(Session, "before_commit", fail)
    try:
        yield
    finally:
        event.remove(Session, "before_commit", fail)


def test_a_disk_that_fills_up_at_the_commit_is_told_without_a_path(pool: Site) -> None:
    files = {"label": ("label.nrrd", label_bytes())}
    with failing_commit():
        refused = pool.client.put("/datastore/label?image=case_1", files=files)
    assert refused.status_code == 507
    assert "/home" not in refused.text
    assert pool.stats()["completed"] == 0
    assert pool.client.put("/datastore/label?image=case_1", files=files).status_code == 200


def test_a_disk_that_fills_up_while_an_upload_comes_in_is_told(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Larger than what is kept in memory. Form parsing calls every trouble a 400.
    files = {"file": ("large.nii.gz", bytes(4 << 20))}
    with small_disk(tmp_path / "disk", 1) as disk:
        monkeypatch.setattr(tempfile, "tempdir", str(disk))
        refused = site.client.put("/datastore/?image=large", files=files)
    assert refused.status_code == 507
    assert "is full" in refused.json()["detail"]


@pytest.mark.parametrize(("path", "status"), [("/health/live", 200), ("/health/ready", 200)])
def test_a_healthy_server_tells_so(site: Site, path: str, status: int) -> None:
    answer = site.client.get(path)
    assert answer.status_code == status
    assert list(answer.json()) == ["status"]


def test_health_names_what_is_missing_and_stays_200_while_labels_are_taken(site: Site) -> None:
    answer = site.client.get("/health")
    assert answer.status_code == 200
    body = answer.json()
    assert body["is_ready"]
    assert body["missing"][0] == "no worker is alive: nothing is predicted or trained"
    assert body["free_bytes"] > 0
    assert body["damaged_files"] == 0
