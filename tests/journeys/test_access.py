"""The stock client of MONAI Label 0.8.5, and programs without headers, log in at a real server."""

import json
import os
import re
import socket
import sqlite3
import subprocess
import sys
import urllib.request
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DatabaseError

from app import audit
from app.access import users
from app.access.roles import Role
from app.store.database import Database
from tests.journeys.pool import write_image, write_label
from tests.journeys.postgresql import postgresql, postgresql_programs
from tests.journeys.serving import RunningServer, started

with warnings.catch_warnings():
    # The client needs the module cgi, which Python 3.13 has no longer got.
    warnings.filterwarnings("ignore", "'cgi' is deprecated", DeprecationWarning)
    from monailabel.client.client import MONAILabelClient, MONAILabelClientException

pytestmark = [
    pytest.mark.slow,
    # The client leaves closing its files and sockets to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

_PASSWORD = "correct horse battery staple"

_PEOPLE = {"dr-a": "annotator", "dr-b": "annotator", "boss": "admin"}


def caclabel(data: Path, *words: str, given: str = "") -> str:
    """Run a command as an operator does; returns what it prints."""
    command = [sys.executable, "-m", "server.cli", *words, "--data", str(data)]
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=True)
    return done.stdout


def make_key(data: Path, user: str) -> str:
    return caclabel(data, "key", "add", user).splitlines()[0].partition("once: ")[2]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("access")
    data, studies = folder / "data", folder / "studies"
    studies.mkdir()
    for name, role in _PEOPLE.items():
        caclabel(data, "user", "add", name, "--role", role, "--stdin", given=_PASSWORD)
    with started(studies, data, workers=0) as running:
        yield running


@pytest.fixture
def open_client(server: RunningServer, tmp_path: Path) -> Any:
    """Return what opens a client, by a path below the address of the server."""

    def opened(path: str = "") -> Any:
        return MONAILabelClient(server.url + path, str(tmp_path), "user-xyz")

    return opened


@pytest.fixture
def annotator(open_client: Any) -> Any:
    """Return a client that has logged in as 3D Slicer does."""
    client = open_client()
    client.update_auth(client.auth_token("dr-a", _PASSWORD))
    return client


@contextmanager
def refused(status: int, words: str) -> Iterator[None]:
    """Expect a refusal with a sentence that the dialog can show."""
    with pytest.raises(MONAILabelClientException) as raised:
        yield
    assert f"Status: {status}" in raised.value.msg
    assert words in json.loads(raised.value.msg.partition("Response: ")[2])["detail"]


def test_a_client_is_asked_to_log_in(open_client: Any) -> None:
    client = open_client()
    assert client.auth_enabled()
    assert not client.auth_valid_token()
    with refused(401, "Not authenticated"):
        client.info()
    with refused(401, "Could not validate credentials"):
        client.auth_token("dr-a", "wrong")


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_length_that_the_client_repeats_is_not_waited_for(
    server: RunningServer, method: str
) -> None:
    address = urlsplit(server.url)
    connection = HTTPConnection(str(address.hostname), address.port, timeout=30)
    stale = {"Content-Length": "900", "Content-Type": "multipart/form-data; boundary=x"}
    for path in ("/datastore/label?label=first", "/train/"):
        connection.putrequest(method, path)
        for name, value in stale.items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        assert answer.status in {401, 405}
        connection.close()


_SMUGGLED = "GET /audit HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"

_TOKEN = "POST /auth/token HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"


@pytest.mark.parametrize(
    "head",
    [
        "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "Content-Length: +5\r\n\r\nabcde",
        "Content-Length : 5\r\n\r\nabcde",
    ],
)
def test_a_request_whose_end_two_servers_see_elsewhere_is_refused(
    server: RunningServer, head: str
) -> None:
    answers = exchange(server, _TOKEN + head + _SMUGGLED)
    assert answers.startswith("HTTP/1.1 400 ")
    assert answers.count("HTTP/1.1 ") == 1


def test_the_body_of_a_refused_request_is_no_request(server: RunningServer) -> None:
    first = f"GET /audit HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(_SMUGGLED)}\r\n\r\n"
    last = "GET /auth/ HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    answers = exchange(server, first + _SMUGGLED + last)
    assert re.findall(r"HTTP/1\.1 (\d+) ", answers) == ["401", "200"]


def exchange(server: RunningServer, sent: str) -> str:
    """Send bytes as they are; returns all that comes until the server ends it."""
    address = urlsplit(server.url)
    with socket.create_connection((str(address.hostname), address.port or 0), 30) as connection:
        connection.sendall(sent.encode())
        return b"".join(iter(lambda: connection.recv(65536), b"")).decode()


def test_an_annotator_labels_under_the_own_name(annotator: Any, tmp_path: Path) -> None:
    assert annotator.auth_valid_token()
    image = write_image(tmp_path / "first.nii.gz", seed=1)
    assert annotator.upload_image(str(image), "first") == {"image": "first"}
    assert annotator.next_sample("first", {})["id"] == "first"
    label = write_label(tmp_path / "first.nrrd", 1)
    assert annotator.save_label("first", str(label))["label"] == "first"
    assert Path(annotator.download_label("first", "final")).stat().st_size > 0
    info = annotator.datastore()["objects"]["first"]["labels"]["final"]["info"]
    assert info["client_id"] == "user-xyz"


def test_a_sample_lies_with_who_logged_in_whatever_name_is_claimed(
    annotator: Any, open_client: Any, tmp_path: Path
) -> None:
    image = write_image(tmp_path / "second.nii.gz", seed=2)
    annotator.upload_image(str(image), "second")
    assert annotator.next_sample("first", {})["id"] == "second"
    other = open_client()
    other.update_auth(other.auth_token("dr-b", _PASSWORD))
    assert other.next_sample("first", {}) == {}


def test_an_annotator_starts_no_training(annotator: Any) -> None:
    with refused(403, 'Role "admin" is required'):
        annotator.train_start("calcium", {})


def test_an_address_with_a_key_needs_no_login_and_no_header(
    open_client: Any, annotator: Any, server: RunningServer, tmp_path: Path
) -> None:
    image = write_image(tmp_path / "third.nii.gz", seed=3)
    annotator.upload_image(str(image), "third")
    key = make_key(server.data, "dr-b")
    client = open_client(f"/k/{key}/")
    assert not client.auth_enabled()
    assert client.info()["name"]
    # 3D Slicer downloads the image of a sample by urllib, without any header.
    address = f"{server.url}/k/{key}/datastore/image?image=third"
    with urllib.request.urlopen(address) as download:
        assert download.read() == image.read_bytes()
    assert client.next_sample("first", {"client_id": "professor"})["id"] == "third"
    client.save_label("third", str(write_label(tmp_path / "third.nrrd", 3)))
    with closing(sqlite3.connect(server.data / "caclabel.sqlite")) as connection:
        stored = connection.execute("SELECT annotator FROM labels WHERE image_id = 'third'")
        assert stored.fetchall() == [("dr-b",)]
    caclabel(server.data, "key", "revoke", key.split("_")[1])
    with refused(401, "Could not validate credentials"):
        client.info()


def test_a_disabled_user_is_out_at_once(open_client: Any, server: RunningServer) -> None:
    caclabel(server.data, "user", "add", "dr-c", "--stdin", given=_PASSWORD)
    client = open_client()
    client.update_auth(client.auth_token("dr-c", _PASSWORD))
    assert client.auth_valid_token()
    caclabel(server.data, "user", "disable", "dr-c")
    assert not client.auth_valid_token()
    with refused(401, "Could not validate credentials"):
        client.auth_token("dr-c", _PASSWORD)


def test_the_log_and_the_trail_name_people_and_hold_no_secret(
    open_client: Any, server: RunningServer
) -> None:
    key = make_key(server.data, "boss")
    client = open_client()
    token = client.auth_token("boss", _PASSWORD)["access_token"]
    with refused(401, "Could not validate"):
        client.auth_token("boss", "a wrong secret")
    server.request("GET", f"/k/{key}x/info/")
    trail = server.request("GET", f"/k/{key}/audit?limit=1000").text
    for row in ('"log in"', '"refuse login"', '"add user"', '"add key"'):
        assert row in trail
    log = (server.data / "logs" / "caclabel.log").read_text()
    assert "refused a login of boss from 127.0.0.1" in log
    for secret in (key, token, _PASSWORD, "a wrong secret"):
        assert secret not in log + trail


def test_a_server_for_others_does_not_start_without_people(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "server.cli", "serve", "--host", "0.0.0.0"]
    done = subprocess.run(
        [*command, "--data", str(tmp_path / "data")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ},
    )
    assert done.returncode == 2
    assert "add one with `caclabel user add NAME" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(postgresql_programs() is None, reason="PostgreSQL is not installed")
def test_postgresql_keeps_users_and_the_trail_as_well() -> None:
    with postgresql() as root:
        database = Database(f"{root}/caclabel")
        database.migrate()
        with database.writing() as session:
            users.add_user(session, "dr-a", Role.USER, password_hash="", actor="x", now=1.0)
            users.disable_user(session, "dr-a", actor="x", now=2.0)
        for statement in (
            "UPDATE audit_events SET actor = 'nobody'",
            "DELETE FROM audit_events",
            "TRUNCATE audit_events",
        ):
            with (
                pytest.raises(DatabaseError, match="audit events are never changed"),
                database.writing() as session,
            ):
                session.execute(text(statement))
        with database.reading() as session:
            assert [row.action for row in audit.recent(session)] == ["disable user", "add user"]
        database.close()
