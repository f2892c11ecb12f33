"""A server in a process of its own is asked to stop while requests are under way."""

import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
import requests
from fastapi.testclient import TestClient
from sqlalchemy import select

from app import jobs
from app.settings import Settings
from app.store.database import Database
from app.store.tables import JobRow
from server.main import create_app
from tests.journeys.serving import RunningServer, started
from tests.server.pool import image_bytes, label_bytes
from tests.server.waiting import wait_until

_EDGE: Final = b"edge"


@dataclass(frozen=True)
class Story:
    """What clients and the operator saw."""

    data: Path
    exit_code: int
    upload: bytes
    begun: requests.Response
    waiting: requests.Response


class SlowUpload:
    """An upload of an image whose second half comes when the test says so."""

    def __init__(self, server: RunningServer, image_id: str) -> None:
        """Send all but the end, after the server has begun to read."""
        body = b"--" + _EDGE + b'\r\nContent-Disposition: form-data; name="file"; filename="'
        body += image_id.encode() + b'.nii.gz"\r\n\r\n' + image_bytes(2)
        body += b"\r\n--" + _EDGE + b"--\r\n"
        head = f"PUT /datastore?image={image_id} HTTP/1.1\r\nHost: localhost\r\n"
        head += "Content-Type: multipart/form-data; boundary=edge\r\nExpect: 100-continue\r\n"
        head += f"Content-Length: {len(body)}\r\n\r\n"
        self._rest = body[-100:]
        self._socket = socket.create_connection(address_of(server), timeout=60)
        self._socket.sendall(head.encode())
        # The server says so when somebody asks for the body.
        assert self._socket.recv(100).startswith(b"HTTP/1.1 100")
        self._socket.sendall(body[:-100])

    def finish(self) -> bytes:
        """Send the end, and return all that the server answers."""
        self._socket.sendall(self._rest)
        return self.answer()

    def answer(self) -> bytes:
        """Return all that the server sends until it closes the connection."""
        received = b""
        with self._socket:
            while more := self._socket.recv(1 << 16):
                received += more
        return received


def empty_folder(parent: Path) -> Path:
    folder = parent / "studies"
    folder.mkdir()
    return folder


def address_of(server: RunningServer) -> tuple[str, int]:
    host, port = server.url.removeprefix("http://").split(":")
    return host, int(port)


def is_closed(server: RunningServer) -> bool:
    """Tell whether the server takes no connection any more."""
    try:
        socket.create_connection(address_of(server), timeout=60).close()
    except ConnectionRefusedError:
        return True
    return False


def put(server: RunningServer, url: str, field: str, name: str, content: bytes) -> None:
    answer = server.request("PUT", url, files={field: (name, content)})
    assert answer.ok, answer.text


def train_and_wait(server: RunningServer) -> requests.Response:
    return server.request("POST", "/train/calcium?run_sync=true&enqueue=true", json={})


def queued(database: Database) -> list[JobRow]:
    with database.reading() as session:
        return list(session.scalars(select(JobRow).where(JobRow.status == "queued")))


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """Stop a server during an upload and two requests that wait for a worker."""
    data = tmp_path_factory.mktemp("stop") / "data"
    database = Database(Settings(data=data).database)
    with (
        started(
            empty_folder(data.parent), data, workers=0, first_training=1, shutdown_seconds=60
        ) as server,
        ThreadPoolExecutor() as clients,
    ):
        put(server, "/datastore?image=labeled", "file", "labeled.nii.gz", image_bytes(0))
        put(server, "/datastore/label?image=labeled", "label", "label.nrrd", label_bytes())
        put(server, "/datastore?image=leased", "file", "leased.nii.gz", image_bytes(1))
        lease = server.request("POST", "/activelearning/random", json={"client_id": "ann"})
        assert lease.json()["id"] == "leased"
        begun = clients.submit(train_and_wait, server)
        wait_until(lambda: len(queued(database)) == 1)
        [job] = queued(database)
        with database.writing() as session:
            jobs.start(session, job.id, "elsewhere", now=time.time())
        waiting = clients.submit(train_and_wait, server)
        wait_until(lambda: len(queued(database)) == 1)
        upload = SlowUpload(server, "slow")
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: is_closed(server))
        answer = upload.finish()
        refused = waiting.result(60)
        with database.writing() as session:
            jobs.finish(session, job.id, "done", [], now=time.time(), result={"worth": "the wait"})
        yield Story(data, server.process.wait(60), answer, begun.result(60), refused)
    database.close()


def test_it_ends_well(story: Story) -> None:
    assert story.exit_code == 0


def test_an_upload_under_way_is_finished_and_kept(story: Story) -> None:
    assert story.upload.startswith(b"HTTP/1.1 200")
    with TestClient(create_app(Settings(data=story.data))) as client:
        assert client.get("/datastore/image?image=slow").content == image_bytes(2)


def test_who_waits_for_a_job_that_runs_gets_its_result(story: Story) -> None:
    assert story.begun.json() == {"worth": "the wait"}


def test_who_waits_for_a_job_that_nobody_has_begun_is_told(story: Story) -> None:
    assert story.waiting.status_code == 503
    assert "is being stopped" in story.waiting.json()["detail"]


def test_leases_stay_with_their_clients(story: Story) -> None:
    with TestClient(create_app(Settings(data=story.data))) as client:
        held = [
            client.post(f"/activelearning/lease/heartbeat?image=leased&client_id={name}").json()
            for name in ("ann", "bea")
        ]
        free = client.post("/activelearning/random", json={"client_id": "bea"}).json()
    assert [answer["is_held"] for answer in held] == [True, False]
    assert free["id"] == "slow"


@pytest.fixture
def short_of_time(tmp_path: Path) -> Iterator[tuple[RunningServer, SlowUpload]]:
    """Return a server with an upload that never ends."""
    with started(
        empty_folder(tmp_path), tmp_path / "data", workers=0, shutdown_seconds=1
    ) as server:
        yield server, SlowUpload(server, "cut")


def test_an_upload_that_takes_too_long_is_cut_and_leaves_nothing(
    short_of_time: tuple[RunningServer, SlowUpload],
) -> None:
    server, upload = short_of_time
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(60) == 0
    assert not upload.answer().startswith(b"HTTP/1.1 200")
    assert list((server.data / "incoming").iterdir()) == []
