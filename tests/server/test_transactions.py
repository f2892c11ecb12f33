"""Commit before the answer: a 200 means that the change is in the database."""

from fastapi.testclient import TestClient
from sqlalchemy import event

from app.settings import Settings
from app.store.tables import QuarantineRow
from server.dependencies import WriteSession
from server.main import create_app
from tests.server.conftest import Site


def test_a_failing_commit_is_never_answered_with_200(settings: Settings) -> None:
    application = create_app(settings)

    @application.post("/planted")
    def add_row(session: WriteSession) -> str:
        session.add(QuarantineRow(path="x", signature="", problem="", seen_at=0.0))
        event.listen(session, "before_commit", _fail)
        return "saved"

    with TestClient(application, raise_server_exceptions=False) as client:
        assert client.post("/planted").status_code == 500
        assert client.get("/quarantine").json() == []


def test_an_error_undoes_everything_of_its_request(settings: Settings) -> None:
    application = create_app(settings)

    @application.post("/planted")
    def add_row(session: WriteSession) -> str:
        session.add(QuarantineRow(path="x", signature="", problem="", seen_at=0.0))
        session.flush()
        raise ZeroDivisionError

    with TestClient(application, raise_server_exceptions=False) as client:
        client.post("/planted")
        assert client.get("/quarantine").json() == []


def test_a_refused_label_leaves_nothing_behind(pool: Site) -> None:
    files = {"label": ("label.nrrd", b"no nrrd at all")}
    answer = pool.client.put("/datastore/label?image=case_1", files=files)
    assert answer.status_code == 422
    assert pool.stats()["completed"] == 0
    assert pool.stats()["label_tags"] == {}


def _fail(_session: object) -> None:
    raise RuntimeError("disk full")
