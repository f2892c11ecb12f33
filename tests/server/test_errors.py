"""Errors: one sentence in ``detail``, always JSON, never a bare 500."""

import logging

import pytest
from fastapi.testclient import TestClient

from app.errors import (
    BusyError,
    CacLabelError,
    ConflictError,
    ImagingError,
    JobFailedError,
    LabelError,
    NotFoundError,
    NotReadyError,
)
from app.settings import Settings
from server.errors import status_of
from server.main import create_app

_JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (NotFoundError("x"), 404),
        (ConflictError("x"), 409),
        (ImagingError("x"), 422),
        (LabelError("x"), 422),
        (BusyError("x"), 429),
        (NotReadyError("x"), 409),
        (JobFailedError("x"), 500),
        (CacLabelError("x"), 500),
    ],
)
def test_every_branch_of_the_tree_has_its_status(error: CacLabelError, status: int) -> None:
    assert status_of(error) == status


def test_a_wrong_value_is_told_in_one_sentence(client: TestClient) -> None:
    answer = client.get("/datastore/?output=everything")
    assert answer.status_code == 422
    assert answer.json() == {"detail": "output: Input should be 'stats', 'all' or 'train'"}


@pytest.mark.parametrize("url", ["/datastore/dataset?limit_cases=", "/logs/?html=false&lines="])
def test_a_number_that_no_database_holds_is_told(client: TestClient, url: str) -> None:
    assert client.get(f"{url}{10**22}").status_code == 422


def test_a_missing_file_is_told_in_one_sentence(client: TestClient) -> None:
    answer = client.put("/datastore/label?image=case_1")
    assert answer.status_code == 422
    assert answer.json() == {"detail": "label: Field required"}


def test_broken_json_is_told_in_one_sentence(client: TestClient) -> None:
    answer = client.post("/activelearning/random", content=b"{", headers=_JSON)
    assert answer.status_code == 422
    assert answer.json() == {"detail": "1: JSON decode error"}


def test_an_unknown_path_is_json_too(client: TestClient) -> None:
    answer = client.get("/nowhere")
    assert answer.status_code == 404
    assert answer.json() == {"detail": "Not Found"}


def test_an_unforeseen_error_is_logged_under_the_id_of_the_answer(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    application = create_app(settings)

    @application.get("/planted")
    def fail() -> None:
        raise ZeroDivisionError("secret detail")

    with (
        TestClient(application, raise_server_exceptions=False) as client,
        caplog.at_level(logging.ERROR, logger="server.errors"),
    ):
        answer = client.get("/planted")
    assert answer.status_code == 500
    log_id = answer.json()["detail"].removeprefix("the server failed; its log says why under ")
    assert "secret detail" not in answer.text
    assert f"{log_id}: GET /planted" in caplog.text
    assert "secret detail" in caplog.text


def test_an_upload_above_the_limit_is_refused_with_a_sentence(settings: Settings) -> None:
    small = settings.model_copy(update={"upload_limit_mb": 1})
    with TestClient(create_app(small)) as client:
        # One byte more than 1 MB in the file alone.
        files = {"file": ("case.nii.gz", bytes((1 << 20) + 1))}
        answer = client.put("/datastore/?image=case", files=files)
        assert answer.status_code == 413
        assert "1 MB" in answer.json()["detail"]
        assert client.get("/datastore/").json()["total"] == 0


def test_json_without_a_content_type_is_read(client: TestClient) -> None:
    answer = client.post("/activelearning/random", content=b'{"client_id": "u"}')
    assert (answer.status_code, answer.json()) == (200, {})
