"""Commit before the answer: a 200 means that the change is in the database."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from sqlalchemy import event
from sqlalchemy.orm import Session

from app.store.tables import AuditRow, JobRow
from server.dependencies import WAITING_PLACES
from tests.server.conftest import Site
from tests.server.pool import add_model, image_bytes, label_bytes

_LABEL = {"label": ("label.nrrd", label_bytes())}

_CLIENTS = 48
"""More than SQLAlchemy's pool has connections by default (15)."""


@pytest.mark.parametrize(
    ("method", "url", "files"),
    [
        ("PUT", "/datastore/label?image=case_2", _LABEL),
        ("PUT", "/datastore/?image=new", {"file": ("new.nii.gz", image_bytes(5))}),
        ("DELETE", "/datastore/?id=case_2", None),
        ("DELETE", "/datastore/label?id=case_1&tag=version_1", None),
        ("PUT", "/datastore/updatelabelinfo?label=case_1&tag=version_1", None),
        ("PUT", "/datastore/image/info?image=case_1", None),
        ("POST", "/activelearning/first", None),
        ("POST", "/scoring/dice", None),
        ("PUT", "/session/", {"files": ("new.nii.gz", image_bytes(5))}),
    ],
)
def test_a_failing_commit_is_never_answered_with_200(
    pool: Site, method: str, url: str, files: dict[str, tuple[str, bytes]] | None
) -> None:
    pool.submit("case_1", tag="version_1")
    with full_disk():
        assert pool.client.request(method, url, files=files).status_code == 500
    assert pool.client.request(method, url, files=files).status_code == 200


def test_a_refused_label_leaves_nothing_behind(pool: Site) -> None:
    with pool.services.database.reading() as session:
        before = session.query(AuditRow).count()
    files = {"label": ("label.nrrd", b"no nrrd at all")}
    answer = pool.client.put("/datastore/label?image=case_1", files=files)
    assert answer.status_code == 422
    assert pool.stats() == {"total": 2, "completed": 0, "label_tags": {}}
    with pool.services.database.reading() as session:
        assert session.query(AuditRow).count() == before


def test_many_clients_at_once_are_all_answered(site: Site) -> None:
    for seed in range(_CLIENTS):
        site.upload(f"case_{seed}", seed=seed)
    with ThreadPoolExecutor(_CLIENTS) as clients:
        served = list(clients.map(lambda _: label_next(site), range(_CLIENTS)))
    assert len(set(served)) == _CLIENTS
    assert site.stats()["completed"] == _CLIENTS


def test_clients_who_wait_for_a_worker_leave_threads_to_others(pool: Site) -> None:
    add_model(pool.services)
    for _ in range(WAITING_PLACES):
        pool.services.waiting_places.acquire()
    answer = pool.client.post("/infer/calcium?image=case_1")
    assert answer.status_code == 429
    assert "try again" in answer.json()["detail"]
    with pool.services.database.reading() as session:
        assert session.query(JobRow).count() == 0


def label_next(site: Site) -> str:
    """Ask for a sample and label it, as one annotator among many."""
    answer = site.client.post("/activelearning/random", json={"client_id": "same"})
    assert answer.status_code == 200, answer.text
    image_id: str = answer.json()["id"]
    site.submit(image_id)
    return image_id


@contextmanager
def full_disk() -> Iterator[None]:
    """Let every commit fail."""

    def fail(_session: Session) -> None:
        raise OSError("disk full")

    event.listen(Session, "before_commit", fail)
    try:
        yield
    finally:
        event.remove(Session, "before_commit", fail)
