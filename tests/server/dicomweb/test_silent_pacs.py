"""A PACS that never answers, or not to the end: everybody else is served all the same."""

import shutil
import threading
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from app.imaging.dicom.line import PLACES, QUEUE
from app.settings import Settings
from server.dependencies import THREADS
from server.main import create_app
from tests.dicomweb_stub import Answer, Query, stub
from tests.server.waiting import wait_until

_FRAME = "/proxy/dicom/wado/studies/1.2/series/1.3/instances/1.4/frames/1"

_REQUESTS = 80
"""More than there are threads."""


def test_others_are_answered_while_all_places_are_taken(
    tmp_path: Path, empty_database: Path
) -> None:
    shutil.copy(empty_database, tmp_path / "caclabel.sqlite")
    is_over = threading.Event()
    answers: list[int] = []

    def wait(_: Query) -> Answer:
        is_over.wait(60.0)
        return Answer(b"x", "application/octet-stream")

    with stub(wait) as running:
        chosen = Settings(data=tmp_path, studies=running.url, pacs_timeout_s=60.0)
        with TestClient(create_app(chosen), raise_server_exceptions=False) as client:

            def ask() -> None:
                answers.append(client.get(_FRAME).status_code)

            threads = [threading.Thread(target=ask) for _ in range(_REQUESTS)]
            for thread in threads:
                thread.start()
            try:
                wait_until(lambda: len(answers) == _REQUESTS - PLACES)
                assert set(answers) == {503}
                assert len(running.queries) == PLACES
                assert client.get("/info/").status_code == 200
                assert len(answers) == _REQUESTS - PLACES
            finally:
                is_over.set()
                for thread in threads:
                    thread.join()
        assert answers.count(200) == PLACES


@pytest.mark.parametrize("kind", ["application/dicom+json", "application/octet-stream"])
def test_others_are_answered_while_answers_have_stopped_in_the_middle(
    kind: str, tmp_path: Path, empty_database: Path
) -> None:
    shutil.copy(empty_database, tmp_path / "caclabel.sqlite")
    with stub(lambda _: Answer(b"[", kind, missing=1000)) as running:
        chosen = Settings(data=tmp_path, studies=running.url, pacs_timeout_s=60.0)
        with TestClient(create_app(chosen), raise_server_exceptions=False) as client:
            threads = [
                threading.Thread(target=client.get, args=(_FRAME,)) for _ in range(_REQUESTS)
            ]
            for thread in threads:
                thread.start()
            try:
                wait_until(lambda: len(running.queries) >= PLACES)
                assert client.get("/info/").status_code == 200
            finally:
                running.is_over.set()
                for thread in threads:
                    thread.join()


def test_waiting_for_the_pacs_leaves_threads_for_others() -> None:
    assert PLACES + QUEUE <= THREADS // 2
